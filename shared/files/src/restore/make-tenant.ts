import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { assertNotHibernated, OnewriterError, tenantFile } from '@onewriter/protocol';
import { withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { numberCopy } from './file-numbers.ts';
import { lastEpoch } from './last-epoch.ts';
import { newDraft, removeLostDrafts } from './new-draft.ts';
import { linkNewFile } from './put-in-place.ts';
import type { StagedFile } from './staged-file.ts';

/** Who makes a tenant, and why, for those who find it held. */
export interface MakeReason {
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: Redis | undefined;
  readonly who: string;
  readonly reason: string;
  /**
   * The file goes on where its last broker left it, on another machine: it is put in place as it is, byte by byte, and its numbers
   * go on with the next commit. Default: it is another one, and putting it there is a commit.
   */
  readonly goesOn?: boolean | undefined;
}

/** A tenant that got a file. */
export interface MadeTenant {
  readonly file: string;
  /** The number that putting it there has itself; its newest where it goes on. */
  readonly commitSeq: number;
  readonly warnings: readonly string[];
}

/**
 * Makes the file of a tenant that has none, in this process, which is one of jobs and makes many. It may be killed at any moment: the
 * next attempt removes what this one left.
 * @param make writes a draft, which must not exist
 * @throws OnewriterError TENANT_BUSY where there is a file, and what `make` throws
 */
export async function makeTenant(
  place: DataPlace,
  tenant: string,
  { redis, who, reason, goesOn = false }: MakeReason,
  make: (draft: string) => Promise<StagedFile>,
): Promise<MadeTenant> {
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  if (existsSync(file)) throw new OnewriterError('TENANT_BUSY', `Tenant ${tenant} has a file.`, { tenant });
  assertNotHibernated(place.dataDir, tenant);
  removeLostDrafts(file);
  const draft = newDraft(place.dataDir, file);
  try {
    const { numbers, warnings, loadKey } = await make(draft.path);
    draft.dress();
    const number = async () => {
      const epoch = await lastEpoch(place, redis);
      const numbering = { numbers, old: null, keepsLedger: false, epoch, loadKey } as const;
      return numberCopy(place, tenant, { kind: 'number', draft: draft.path, ...numbering }).commitSeq;
    };
    const put = async () => {
      const commitSeq = goesOn ? numbers.commitSeq : await number();
      linkNewFile(place, tenant, draft.path, file);
      return commitSeq;
    };
    const hold = { name: 'restore', who, reason, exclusive: true } as const;
    const commitSeq =
      redis === undefined
        ? await put()
        : await withHeldTenant(redis, place.group, tenant, hold, async held => {
            await held.beginChange();
            return put();
          });
    removeDatabase(draft.path); // what SQLite may have left beside it
    return { file, commitSeq, warnings: [...draft.warnings, ...warnings] };
  } catch (error) {
    draft.discard();
    throw error;
  }
}
