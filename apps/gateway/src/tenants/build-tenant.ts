import { join } from 'node:path';
import { OnewriterError, splitScript } from '@onewriter/protocol';
import { runOneShot } from '@onewriter/runtime';
import { tooMuchMemory } from '../reads/read-errors.ts';
import type { Owner } from '../security/shares.ts';
import { Turns } from '../security/turns.ts';
import type { BuildDone, BuildTask } from './build-messages.ts';
import type { TenantPlacement } from './place-tenant.ts';
import type { TenantFiles } from './tenant-files.ts';

/*
 * A tenant with a script is there as a whole or not at all:
 *
 *   a folder in the trash ─ the script, in a process of its own ─ flush ─ link() into the tenant's place
 *
 * Where anything fails before the link, nothing of the tenant exists, neither a file nor anything in Redis; the folder goes,
 * or expires where this process was killed. If two requests come at the same time, one makes the link, and the other finds a tenant.
 */

/**
 * Makes a tenant out of a script.
 * @returns false where there is one already; then the script has not been run on it.
 * @throws OnewriterError of the script, with `statementIndex`: SQL_ERROR, CONSTRAINT_VIOLATION, STATEMENT_NOT_ALLOWED …;
 * STATEMENT_TIMEOUT, ABORTED, RATE_LIMITED, DATABASE_FULL, TENANT_UNAVAILABLE. There is no tenant then.
 */
export type TenantBuilder = (
  tenant: string,
  script: string,
  who: string,
  owner: Owner,
  signal?: AbortSignal,
) => Promise<boolean>;

/** Settings of {@link createTenantBuilder}. */
export interface TenantBuilderOptions {
  readonly files: TenantFiles;
  readonly place: TenantPlacement;
  readonly memoryBytes: number;
  /** For the whole script. */
  readonly timeoutMs: number;
}

/** Scripts at the same time, and those of one tenant or token. */
const MAX_BUILDS = 4;
const MAX_BUILDS_OF_OWNER = 2;
/** Callers that have a turn, or wait for one. */
const MAX_CALLERS = 104;
const FILE = 'new.db';
const ENTRY = new URL('./build-process.js', import.meta.url);

/** A {@link TenantBuilder} of this gateway. */
export function createTenantBuilder(options: TenantBuilderOptions): TenantBuilder {
  const { files, place, timeoutMs } = options;
  const turns = new Turns({
    what: 'tenants that are created',
    callers: MAX_CALLERS,
    turns: MAX_BUILDS,
    turnsOfOwner: MAX_BUILDS_OF_OWNER,
  });
  return async (tenant, script, who, owner, signal) => {
    if (splitScript(script).length === 0) {
      throw new OnewriterError('INVALID_ARGUMENT', 'There is no statement in this script.', { tenant });
    }
    if ((await files.size(tenant)) !== undefined) return false;
    const waiting = turns.enter(owner);
    try {
      await waiting.turn();
      const scratch = await files.makeScratch(tenant, timeoutMs);
      try {
        const path = join(scratch, FILE);
        const task: BuildTask = { tenant, path, script };
        await runOneShot<BuildDone>(ENTRY, {
          memoryBytes: options.memoryBytes,
          timeoutMs,
          signal,
          task,
          tenant,
          what: 'The script of the new tenant',
          tooLarge: () => tooMuchMemory(tenant),
        });
        return await place(tenant, who, () => files.place(tenant, path));
      } finally {
        await files.removeScratch(scratch);
      }
    } finally {
      waiting.leave();
    }
  };
}
