import type { Database } from 'better-sqlite3';
import type { StepsProgress } from './run-steps.ts';

/*
 * How far steps with commits of their own have come, noted in the same transactions. The notes lie among the idempotency
 * keys, because they live as long, under names that no key has by chance: they hold the job's id.
 */

/** Reads what an earlier delivery did. */
export function findProgress(db: Database, jobId: string, op: number): StepsProgress | undefined {
  const note = db.prepare('SELECT result FROM _onewriter_keys WHERE key = ?').pluck().get(nameOf(jobId, op));
  return note === undefined ? undefined : (JSON.parse(String(note)) as StepsProgress);
}

/** Notes what was done. */
export function noteProgress(
  db: Database,
  jobId: string,
  op: number,
  nowMs: number,
  progress: StepsProgress,
): void {
  db.prepare("INSERT OR REPLACE INTO _onewriter_keys VALUES (?, '', ?, ?, ?, ?)").run(
    nameOf(jobId, op),
    jobId,
    op,
    nowMs,
    JSON.stringify(progress),
  );
}

/** Whether an earlier delivery committed some of a job's steps. */
export function hasProgress(db: Database, jobId: string): boolean {
  const from = nameOf(jobId, 0).slice(0, -1);
  return (
    db.prepare('SELECT 1 FROM _onewriter_keys WHERE key > ? AND key < ?').get(from, `${from}:`) !== undefined
  );
}

/** The ledger has it all. */
export function forgetProgress(db: Database, jobId: string, op: number): void {
  db.prepare('DELETE FROM _onewriter_keys WHERE key = ?').run(nameOf(jobId, op));
}

function nameOf(jobId: string, op: number): string {
  return `steps of ${jobId}.${op}`;
}
