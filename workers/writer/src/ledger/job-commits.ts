import { type CommittedWrites, commitsNoteKey } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';

/*
 * Notes which writes of a job belong to which commit, if it needed several, for programs that follow the commits. See
 * `shared/protocol/src/ledger-sql.ts`.
 */

/** Adds a commit to the note of a job, in the same transaction. */
export function noteJobCommit(db: Database, jobId: string, nowMs: number, writes: CommittedWrites): void {
  db.prepare(`
    INSERT INTO sqlite_onewriter_keys VALUES (?, '', ?, ?, ?, json_array(json(?)))
    ON CONFLICT(key) DO UPDATE SET result = json_insert(result, '$[#]', json(?))`).run(
    commitsNoteKey(jobId),
    jobId,
    writes[1],
    nowMs,
    JSON.stringify(writes),
    JSON.stringify(writes),
  );
}

/** Adds the last commit of a job to its note, if it has one. */
export function noteLastJobCommit(db: Database, jobId: string, writes: CommittedWrites): void {
  db.prepare(
    "UPDATE sqlite_onewriter_keys SET result = json_insert(result, '$[#]', json(?)) WHERE key = ?",
  ).run(JSON.stringify(writes), commitsNoteKey(jobId));
}
