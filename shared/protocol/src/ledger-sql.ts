/*
 * How every process reads the writer's tables in a tenant's file. The file's format is in `sqlite_onewriter_state`.
 * A file of an earlier format has other names: see own-tables.ts.
 *
 * The index of the ledger's jobs is kept in blocks of 16 ids (ADR 0018). Of the ids 1 to 35:
 *
 *   1 … 16 | 17 … 32 |   in sqlite_onewriter_jobs
 *                    | 33 34 35   the tail: not in it, so it is looked through
 */

/** Ids of the ledger that come into `sqlite_onewriter_jobs` together. */
export const LEDGER_BLOCK_ROWS = 16;

/** Up to which id of the ledger all rows are in `sqlite_onewriter_jobs`; NULL where the ledger is empty. An expression in SQL. */
export const LEDGER_INDEXED_TO = `(SELECT id - id % ${LEDGER_BLOCK_ROWS} FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1)`;

/** Condition on a row of `sqlite_onewriter_ledger`: that it is of the job whose id is bound to the one `?`. */
export const LEDGER_ROW_OF_JOB = `id = (
  SELECT coalesce(
    (SELECT id FROM sqlite_onewriter_jobs WHERE job_id = wanted),
    (SELECT id FROM sqlite_onewriter_ledger WHERE id > ${LEDGER_INDEXED_TO} AND job_id = wanted))
  FROM (SELECT ? AS wanted))`;

/** The ledger's record of the job whose id is bound to the one `?`. */
export const LEDGER_LOOKUP_SQL = `SELECT commit_seq, next_op, results FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`;

/**
 * The number of the file's newest commit. A commit that adds a row to the ledger is recorded by that
 * row alone, every other commit by the row of state.
 */
export const NEWEST_COMMIT_SEQ_SQL =
  'SELECT max(commit_seq, coalesce((SELECT commit_seq FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1), 0)) FROM sqlite_onewriter_state WHERE id = 1';

/*
 * A job that took several commits has one row in the ledger, with the number of the last. Which of its writes went with which
 * commit is noted among the idempotency keys, because these live as long as the ledger's rows.
 *
 * Steps that leave a transaction open may commit before it, and then have no row of their own. Each such commit has a row
 * with a name that begins with {@link COMMIT_ROW_PREFIX}.
 */

/** `commit-<receipt id>-<commit_seq>`: a commit of steps that may have no row of their own. */
export const COMMIT_ROW_PREFIX = 'commit-';

/** Writes of a job that were committed together: `[commit_seq, first write, the write behind the last]`. */
export type CommittedWrites = readonly [commitSeq: number, from: number, to: number];

/** The note about the commits of a ledger row's job, a JSON array of {@link CommittedWrites}, or NULL. An expression in SQL. */
export const COMMITS_NOTE_SQL =
  "(SELECT k.result FROM sqlite_onewriter_keys k WHERE k.key = 'commits of ' || sqlite_onewriter_ledger.job_id)";

/** The name of that note. */
export const commitsNoteKey = (jobId: string) => `commits of ${jobId}`;
