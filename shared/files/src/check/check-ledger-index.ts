import { LEDGER_INDEXED_TO, ownNames } from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import { countOf } from './finding.ts';

/** What must not be there, and its message; each query counts. */
const RULES: readonly (readonly [sql: string, found: (count: number) => string])[] = [
  [
    'SELECT count(*) - count(DISTINCT job_id) FROM sqlite_onewriter_ledger',
    count => `${countOf(count, 'row', ['of the ledger is', 'of the ledger are'])} of a job that has another.`,
  ],
  [
    `SELECT count(*) FROM sqlite_onewriter_ledger l WHERE id <= ${LEDGER_INDEXED_TO}
       AND NOT EXISTS (SELECT 1 FROM sqlite_onewriter_jobs j WHERE j.job_id = l.job_id AND j.id = l.id)`,
    count =>
      `${countOf(count, 'row', ['of the ledger is', 'of the ledger are'])} missing in its index: if the job comes again, it is applied again.`,
  ],
  [
    `SELECT count(*) FROM sqlite_onewriter_jobs j
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_onewriter_ledger l WHERE l.id = j.id AND l.job_id = j.job_id)`,
    count =>
      count === 1
        ? "1 entry of the ledger's index has no row."
        : `${count} entries of the ledger's index have no row.`,
  ],
];

/**
 * Whether the ledger and its index fit together: all rows up to the last whole block are in it, and
 * no job is there twice. Source: `shared/protocol/src/ledger-sql.ts`.
 */
export function checkLedgerIndex(db: Database.Database): string[] {
  const names = ownNames(db);
  return RULES.flatMap(([sql, found]) => {
    const count = db.prepare<[], number>(names(sql)).pluck().get() ?? 0;
    return count > 0 ? [found(count)] : [];
  });
}
