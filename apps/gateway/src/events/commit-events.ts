import { setTimeout as pause } from 'node:timers/promises';
import {
  COMMIT_ROW_PREFIX,
  COMMITS_NOTE_SQL,
  type CommittedWrites,
  isOnewriterError,
  readOwnTablesLater,
  receiptId,
  type SqlValue,
} from '@onewriter/protocol';
import type { TenantReads } from '../reads/tenant-reads.ts';
import type { TenantFiles } from '../tenants/tenant-files.ts';

/** One commit of a tenant. */
export interface CommitEvent {
  readonly commitSeq: number;
  /** ISO time, by the broker's clock. */
  readonly committedAt: string;
  /** Receipt ids of the writes that it applied, in order. */
  readonly receipts: readonly string[];
  /** Receipt ids of writes that failed on their own and were settled with it. */
  readonly failed: readonly string[];
}

/** A place in a tenant's ledger. */
export interface LedgerPosition {
  readonly commitSeq: number;
  /** Rows up to this one belong to this commit and older ones. */
  readonly ledgerId: number;
  /** The file that the numbers are of; see the protocol's DatabaseFile. */
  readonly incarnation: string;
}

/** What {@link followCommits} yields. */
export type FollowedEvent =
  /** Where it begins; nothing before it is reported. */
  | { readonly type: 'ready'; readonly position: LedgerPosition }
  | { readonly type: 'commit'; readonly position: LedgerPosition; readonly commit: CommitEvent }
  /** What was known is gone: commits between were pruned, or the file is another, or a backup. Read the data again. */
  | { readonly type: 'gap'; readonly position: LedgerPosition }
  /** Nothing happened for a while. */
  | { readonly type: 'quiet' };

/** Settings of {@link followCommits}. */
export interface FollowOptions {
  readonly reads: TenantReads;
  readonly files: TenantFiles;
  readonly tenant: string;
  /** Undefined: only what comes from now on. */
  readonly after: LedgerPosition | undefined;
  readonly readTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** Interval of the check whether the file has changed, by stat alone. */
const POLL_MS = 150;
/** Interval of reads even if no change shows: two commits within one tick of the file system's clock can look like one. */
const LOOK_EVERY_MS = 2_000;
/** A file that is away for longer is deleted. */
const MAX_AWAY_MS = 2_000;
const QUIET_AFTER_MS = 15_000;
const COMMIT_ROW = new RegExp(`^${COMMIT_ROW_PREFIX}(.*)-\\d+$`);
/** Larger than a batch has jobs, so that it has at least one whole commit. */
const MAX_ROWS = 200;

/** `onewriter restore` adds a row of this name, with a number that continues from the file that was there before. */
const RESTORE_PREFIX = 'restore-';

/** A job that is committed in part keeps its row: it is still to come. */
const BOUNDS = `
  SELECT min(id), coalesce(min(CASE WHEN next_op IS NOT NULL THEN id END) - 1, max(id)), max(commit_seq)
  FROM sqlite_onewriter_ledger`;
/** Where the file of a restore begins: it holds the ledger of the backup, too. */
const RESTORED = `
  SELECT id, commit_seq FROM sqlite_onewriter_ledger WHERE job_id LIKE '${RESTORE_PREFIX}%' ORDER BY id DESC LIMIT 1`;
const NEXT = `
  SELECT id, job_id, commit_seq, committed_at, next_op, json_array_length(results),
    (SELECT group_concat(e.key) FROM json_each(results) e WHERE e.type = 'object' AND json_type(e.value, '$.e') IS NOT NULL),
    ${COMMITS_NOTE_SQL}
  FROM sqlite_onewriter_ledger WHERE id > ? ORDER BY id LIMIT ${MAX_ROWS}`;

/**
 * Follows a tenant's commits in its ledger, which is in the same file and the same transactions as the data: only
 * commits are reported, in order, each once. Ends when the signal fires.
 * @throws OnewriterError of the reads: TENANT_NOT_FOUND, DATABASE_…
 */
export async function* followCommits(options: FollowOptions): AsyncGenerator<FollowedEvent, void, undefined> {
  const { files, tenant, signal, after } = options;
  const bounds = await readBounds(options);
  const { incarnation } = bounds;
  const newest = { commitSeq: bounds.commitSeq, ledgerId: bounds.max, incarnation };
  let position = after ?? newest;
  if (after === undefined) yield { type: 'ready', position };
  else if (after.incarnation !== incarnation) {
    // Equal numbers are of other commits there.
    position = await readStart(options, bounds);
    yield { type: 'gap', position };
  } else if (after.ledgerId < bounds.min - 1) {
    position = { commitSeq: after.commitSeq, ledgerId: bounds.min - 1, incarnation };
    yield { type: 'gap', position };
  } else if (after.ledgerId > bounds.max) {
    position = newest;
    yield { type: 'gap', position };
  } else yield { type: 'ready', position };

  let seen: string | undefined;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let toldAt = performance.now();
  let awaySince: number | undefined;
  while (!signal.aborted) {
    const fingerprint = await files.fingerprint(tenant);
    if (fingerprint !== seen || performance.now() - lookedAt >= LOOK_EVERY_MS) {
      seen = fingerprint;
      lookedAt = performance.now();
      let more = true;
      while (more && !signal.aborted) {
        const found = await readCommits(options, position).catch(error => {
          // While a backup is put in its place a file is away for a moment.
          if (!isOnewriterError(error, 'TENANT_NOT_FOUND')) throw error;
          awaySince ??= performance.now();
          if (performance.now() - awaySince > MAX_AWAY_MS) throw error;
          seen = undefined;
          return undefined;
        });
        if (found === undefined) break;
        awaySince = undefined;
        if (found.incarnation !== position.incarnation) {
          position = await readStart(options, await readBounds(options));
          toldAt = performance.now();
          yield { type: 'gap', position };
          continue;
        }
        more = found.more;
        for (const event of found.events) {
          position = event.position;
          toldAt = performance.now();
          yield event;
        }
      }
    }
    if (performance.now() - toldAt >= QUIET_AFTER_MS) {
      toldAt = performance.now();
      yield { type: 'quiet' };
    }
    await pause(POLL_MS, undefined, { signal }).catch(() => {}); // the loop ends
  }
}

/** Rows, and the file that they are of. */
interface FileRows {
  readonly rows: SqlValue[][];
  readonly incarnation: string;
}

async function read(
  { reads, files, tenant, readTimeoutMs, signal }: FollowOptions,
  sql: string,
  params: readonly number[],
): Promise<FileRows> {
  try {
    // Looked for afterwards where the read does not say it: rows of another file than before never count as of the same.
    const { results, incarnation = files.incarnation(tenant) ?? '' } = await readOwnTablesLater(names =>
      reads.read({
        tenant,
        statements: [{ sql: names(sql), params }],
        timeoutMs: readTimeoutMs,
        signal,
      }),
    );
    return { rows: results[0]!.rows, incarnation };
  } catch (error) {
    // No broker has opened this file yet, so it has no ledger; or the follower is going.
    if (isOnewriterError(error, 'SQL_ERROR') || isOnewriterError(error, 'ABORTED')) {
      return { rows: [], incarnation: files.incarnation(tenant) ?? '' };
    }
    throw error;
  }
}

interface Bounds {
  readonly min: number;
  readonly max: number;
  readonly commitSeq: number;
  readonly incarnation: string;
}

async function readBounds(options: FollowOptions): Promise<Bounds> {
  const {
    rows: [row],
    incarnation,
  } = await read(options, BOUNDS, []);
  return {
    min: Number(row?.[0] ?? 1),
    max: Number(row?.[1] ?? 0),
    commitSeq: Number(row?.[2] ?? 0),
    incarnation,
  };
}

/** Before the first commit to a file: to a new one, or after the restore that put it in place. */
async function readStart(options: FollowOptions, { min, incarnation }: Bounds): Promise<LedgerPosition> {
  const {
    rows: [restored],
  } = await read(options, RESTORED, []);
  return restored === undefined
    ? { commitSeq: 0, ledgerId: min - 1, incarnation }
    : { commitSeq: Number(restored[1]), ledgerId: Number(restored[0]), incarnation };
}

async function readCommits(
  options: FollowOptions,
  { commitSeq: after, ledgerId }: LedgerPosition,
): Promise<{ events: Exclude<FollowedEvent, { type: 'quiet' }>[]; more: boolean; incarnation: string }> {
  const { rows, incarnation } = await read(options, NEXT, [ledgerId]);
  const commits = new Map<number, FoundCommit>();
  const restored = new Set<number>();
  let readTo = ledgerId;
  for (const [id, jobId, seq, committedAt, nextOp, count, failures, note] of rows) {
    // A large job commits in parts, and is reported when all are done; no other job of the tenant overtakes it.
    if (nextOp !== null) break;
    readTo = Number(id);
    const name = String(jobId);
    if (name.startsWith(RESTORE_PREFIX)) restored.add(Number(seq));
    const failed = new Set(typeof failures === 'string' ? failures.split(',').map(Number) : [failures]);
    const whole: CommittedWrites = [Number(seq), 0, Number(count)];
    const parts = typeof note === 'string' ? (JSON.parse(note) as readonly CommittedWrites[]) : [whole];
    for (const [commitSeq, from, to] of parts) {
      // Rows can lie before those of older commits, so some are read twice.
      if (commitSeq <= after) continue;
      let commit = commits.get(commitSeq);
      if (commit === undefined) {
        const at = new Date(Number(committedAt)).toISOString();
        commit = { commitSeq, committedAt: at, receipts: [], failed: [], firstId: Number(id) };
        commits.set(commitSeq, commit);
      }
      commit.firstId = Math.min(commit.firstId, Number(id));
      for (let index = from; index < to; index++) {
        (failed.has(index) ? commit.failed : commit.receipts).push(receiptId(name, index));
      }
      const ofSteps = COMMIT_ROW.exec(name)?.[1];
      if (ofSteps !== undefined) commit.receipts.push(ofSteps);
    }
  }
  const more = rows.length === MAX_ROWS;
  const inOrder = [...commits.values()].toSorted((a, b) => a.commitSeq - b.commitSeq);
  // The last commit may have more jobs than were read.
  const last = more && inOrder.length > 1 ? inOrder.pop() : undefined;
  if (last !== undefined) readTo = Math.min(readTo, last.firstId - 1);
  const events: Exclude<FollowedEvent, { type: 'quiet' }>[] = [];
  for (const { firstId, ...commit } of inOrder.toReversed()) {
    const position = { commitSeq: commit.commitSeq, ledgerId: readTo, incarnation };
    events.unshift(
      restored.has(commit.commitSeq) ? { type: 'gap', position } : { type: 'commit', position, commit },
    );
    readTo = Math.min(readTo, firstId - 1);
  }
  return { events, more, incarnation };
}

/** A commit in the making. */
interface FoundCommit extends CommitEvent {
  readonly receipts: string[];
  readonly failed: string[];
  /** Id of the first row that belongs to it. */
  firstId: number;
}
