import { resolve } from 'node:path';
import { assertMayMakeDatabase, findDatabaseFile, OnewriterError, tenantFile } from '@onewriter/protocol';
import type { FileNote } from '../adopt/inspect-file.ts';
import { nameTenants } from '../adopt/tenant-ids.ts';
import type { DataPlace } from '../data-place.ts';
import { findLoadKey } from '../load/load-key.ts';
import { openReadOnly } from '../open/open-database.ts';
import type { SplitOptions, SplitPart, SplitPlan } from './split-messages.ts';
import { SPLIT_KEY, splitHash } from './split-tenant.ts';

/** A tenant of the source, and the one that it becomes. */
export interface NamedPart extends SplitPart {
  /** Null: it has no id, and a note says why. */
  readonly tenant: string | null;
  /** `done`: an earlier run made it. */
  readonly state: 'ready' | 'done' | 'blocked';
}

/** Gives each tenant of a source its id, and finds out which are there already. @param given ids that a person chose, by name */
export function nameParts(
  place: DataPlace,
  plan: SplitPlan,
  options: SplitOptions,
  given: ReadonlyMap<string, string>,
): { readonly parts: readonly NamedPart[]; readonly notes: readonly FileNote[] } {
  const ids = nameTenants(
    plan.tenants.map(({ text }) => text),
    given,
  );
  const notes: FileNote[] = [];
  const refuse = (check: string, found: string, next: string) =>
    void notes.push({ level: 'error', check, found, next });
  const parts = plan.tenants.map((part, index): NamedPart => {
    const id = ids[index]!;
    if ('trouble' in id) {
      refuse('id', `${id.trouble}.`, 'Give it an id: --names <file> with {"name": "id"}.');
      return { ...part, tenant: null, state: 'blocked' };
    }
    const { tenant } = id;
    const there = whatIsThere(place, tenant, splitHash({ hash: plan.hash, options }, part));
    if (there === undefined || there === 'done') return { ...part, tenant, state: there ?? 'ready' };
    refuse('taken', there, 'Give it another id with --names, or move that tenant away.');
    return { ...part, tenant, state: 'blocked' };
  });
  return { parts, notes };
}

/** Undefined: nothing; else why the tenant cannot be made. */
function whatIsThere(place: DataPlace, tenant: string, hash: string): string | undefined {
  const path = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  try {
    const file = findDatabaseFile(path);
    if (file === undefined) {
      assertMayMakeDatabase(place.dataDir, tenant, path);
      return undefined;
    }
    const db = openReadOnly(file.path, place.busyTimeoutMs);
    try {
      if (findLoadKey(db, SPLIT_KEY, hash) !== undefined) return 'done';
    } finally {
      db.close();
    }
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    if (error.code !== 'IDEMPOTENCY_KEY_REUSED') return error.message;
  }
  return `Tenant ${tenant} has a file already.`;
}
