import { OnewriterError, ownNames } from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import { hasTable } from '../open/open-database.ts';

/*
 * A load with an idempotency key is committed once: its key lies among those of the tenant's writes, in the file that the load puts in
 * place, so that it is there exactly where the load is. A load of another file with it is refused; so is one after a load in steps.
 */

/** What is known of a load for good. */
export interface LoadFigures {
  /** Statements of a dump; 0 for a database. */
  readonly statements: number;
  /** What the tenant had then. */
  readonly rows: number;
  readonly tables: number;
  readonly foreignKeyViolations: number;
}

/** A key, and what it stands for. */
export interface LoadKey {
  readonly key: string;
  /** SHA-256 of the source. */
  readonly hash: string;
  readonly figures: LoadFigures;
}

const nameOf = (db: Database.Database) => ownNames(db)('sqlite_onewriter_keys');

/**
 * Looks for a load that was committed.
 * @param db the tenant's file
 * @returns undefined where there is none, or its key was forgotten
 * @throws OnewriterError IDEMPOTENCY_KEY_REUSED
 */
export function findLoadKey(
  db: Database.Database,
  key: string,
  hash: string,
): (LoadFigures & { readonly before: number }) | undefined {
  const table = nameOf(db);
  if (!hasTable(db, table)) return undefined;
  const found = db
    .prepare<[string], { fingerprint: string; result: string }>(
      `SELECT fingerprint, result FROM ${table} WHERE key = ?`,
    )
    .get(key);
  if (found === undefined) return undefined;
  if (found.fingerprint === fingerprintOf(hash)) return JSON.parse(found.result);
  throw new OnewriterError(
    'IDEMPOTENCY_KEY_REUSED',
    'The idempotency key was used before: for another file, for this one in steps (--resume), or for another write. Nothing has changed.',
  );
}

/** Notes that a load is committed. Inside the transaction that numbers it. */
export function noteLoadKey(
  db: Database.Database,
  { key, hash, figures }: LoadKey,
  jobId: string,
  commitSeq: number,
): void {
  const result = JSON.stringify({ ...figures, before: commitSeq });
  db.prepare(`INSERT INTO ${nameOf(db)} VALUES (?, ?, ?, 0, ?, ?)`).run(
    ...[key, fingerprintOf(hash), jobId, Date.now(), result],
  );
}

/** No write of another kind has such a fingerprint. */
function fingerprintOf(hash: string): string {
  return `load-${hash}`;
}
