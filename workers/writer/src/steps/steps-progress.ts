import type { Database } from 'better-sqlite3';
import type { StepsProgress } from './run-steps.ts';

/*
 * Progress of steps with commits of their own, noted in the same transactions. The notes are among the idempotency
 * keys, because they live as long, under names that no key has by chance: they contain the job's id.
 *
 * A note has all results so far, and each commit writes one. So that long lists do not write their results again with each
 * commit, full chunks are stored once, in notes of their own.
 */

/** Results of a chunk. A shorter list has one note, which writers that know no chunks can read. */
const CHUNK = 1_000;
const INSERT = "INTO sqlite_onewriter_keys VALUES (?, '', ?, ?, ?, ?)";
const CHUNKS = "FROM sqlite_onewriter_keys WHERE key >= ? || '/' AND key < ? || '0'";

/** Reads the progress of an earlier delivery. */
export function findProgress(db: Database, jobId: string, op: number): StepsProgress | undefined {
  const name = nameOf(jobId, op);
  const note = db.prepare('SELECT result FROM sqlite_onewriter_keys WHERE key = ?').pluck().get(name);
  if (note === undefined) return undefined;
  const { q, x } = JSON.parse(String(note)) as StepsProgress;
  const chunks = db.prepare(`SELECT result ${CHUNKS} ORDER BY key`).pluck().all(name, name);
  return { q: [...chunks.flatMap(chunk => JSON.parse(String(chunk)) as string[]), ...q], x };
}

/** Notes the progress. */
export function noteProgress(
  db: Database,
  jobId: string,
  op: number,
  nowMs: number,
  progress: StepsProgress,
): void {
  const name = nameOf(jobId, op);
  const { q, x } = progress;
  const full = Math.floor(q.length / CHUNK);
  const insert = db.prepare(`INSERT OR IGNORE ${INSERT}`);
  for (let chunk = full - 1; chunk >= 0; chunk--) {
    const results = JSON.stringify(q.slice(chunk * CHUNK, (chunk + 1) * CHUNK));
    const key = `${name}/${String(chunk).padStart(4, '0')}`;
    // Earlier chunks were stored before it.
    if (insert.run(key, jobId, op, nowMs, results).changes === 0) break;
  }
  const rest = JSON.stringify({ q: q.slice(full * CHUNK), x });
  db.prepare(`INSERT OR REPLACE ${INSERT}`).run(name, jobId, op, nowMs, rest);
}

/** Whether an earlier delivery committed some of a job's steps. */
export function hasProgress(db: Database, jobId: string): boolean {
  const from = nameOf(jobId, 0).slice(0, -1);
  return (
    db.prepare('SELECT 1 FROM sqlite_onewriter_keys WHERE key > ? AND key < ?').get(from, `${from}:`) !==
    undefined
  );
}

/** Deletes the notes: the ledger has all results. */
export function forgetProgress(db: Database, jobId: string, op: number): void {
  const name = nameOf(jobId, op);
  db.prepare('DELETE FROM sqlite_onewriter_keys WHERE key = ?').run(name);
  db.prepare(`DELETE ${CHUNKS}`).run(name, name);
}

function nameOf(jobId: string, op: number): string {
  return `steps of ${jobId}.${op}`;
}
