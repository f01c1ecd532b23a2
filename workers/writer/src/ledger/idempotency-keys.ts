import { createHash } from 'node:crypto';
import {
  type ImportMark,
  LIMITS,
  matchOperation,
  OnewriterError,
  type OperationCases,
  type WireOperation,
  type WireStatement,
} from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { lazily } from '../batch/lazily.ts';

/*
 * A write with an idempotency key is applied once per tenant and key: a second one with the same content gets the
 * stored result, one with other content is refused. Only an applied write is stored: one that failed left nothing behind, so
 * trying it again is safe and may succeed.
 *
 * The result of a write with a key carries the number of its own commit ({@link withCommitSeq}): its repeat is in another
 * commit.
 */

/** The stored result of a key. */
export interface StoredKey {
  readonly fingerprint: string;
  /** JSON of a WireOperationResult; without its commit where an older broker stored it. */
  readonly result: string;
  /** The job that applied the write. */
  readonly jobId: string;
}

/** The idempotency keys in one tenant's file. */
export class IdempotencyKeys {
  readonly #find: () => Statement<[string], StoredKey>;
  readonly #store: () => Statement<[string, string, string, number, number, string]>;
  readonly #replace: () => Statement<[string, string, string, number, number, string]>;
  readonly #findRowKeys: () => Statement<[string, string]>;

  constructor(db: Database) {
    this.#find = lazily(() =>
      db.prepare('SELECT fingerprint, result, job_id AS jobId FROM sqlite_onewriter_keys WHERE key = ?'),
    );
    this.#store = lazily(() => db.prepare('INSERT INTO sqlite_onewriter_keys VALUES (?, ?, ?, ?, ?, ?)'));
    // After the old maximum: the replaced row may be the largest, and its id may lie before a mark.
    this.#replace = lazily(() =>
      db.prepare(`INSERT OR REPLACE INTO sqlite_onewriter_keys(rowid, key, fingerprint, job_id, op, committed_at, result)
        VALUES ((SELECT coalesce(max(rowid), 0) + 1 FROM sqlite_onewriter_keys), ?, ?, ?, ?, ?, ?)`),
    );
    this.#findRowKeys = lazily(() =>
      db.prepare('SELECT 1 FROM sqlite_onewriter_keys WHERE key > ? AND key < ? LIMIT 1'),
    );
  }

  /**
   * Finds the stored result of a key.
   * @throws OnewriterError IDEMPOTENCY_KEY_REUSED, INVALID_ARGUMENT for an invalid key.
   */
  find(key: unknown, fingerprint: string): StoredKey | undefined {
    if (typeof key !== 'string' || key === '' || key.length > LIMITS.maxIdempotencyKeyLength) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `An idempotency key has 1 to ${LIMITS.maxIdempotencyKeyLength} characters.`,
      );
    }
    const stored = this.#find().get(key);
    if (stored === undefined || stored.fingerprint === fingerprint) return stored;
    throw new OnewriterError(
      'IDEMPOTENCY_KEY_REUSED',
      'The idempotency key was used before with another write.',
    );
  }

  /**
   * Progress of an import; its mark is stored among the keys, as the result of the import's key.
   * @throws OnewriterError IDEMPOTENCY_KEY_REUSED, INVALID_ARGUMENT as {@link find}
   */
  findMark(key: string, fingerprint: string): ImportMark | undefined {
    const stored = this.find(key, fingerprint);
    return stored === undefined ? undefined : (JSON.parse(stored.result) as ImportMark);
  }

  /** Moves the mark of an import, in the transaction of its rows. It becomes the newest key, so that it is pruned last. */
  storeMark(
    key: string,
    fingerprint: string,
    jobId: string,
    op: number,
    nowMs: number,
    mark: ImportMark,
  ): void {
    this.#replace().run(key, fingerprint, jobId, op, nowMs, JSON.stringify(mark));
  }

  /** Whether rows of an import have keys of their own, `<key>:<number>`: an older version began it. */
  hasRowKeys(key: string): boolean {
    return this.#findRowKeys().get(`${key}:`, `${key}:9z`) !== undefined;
  }

  /** Whether a write with this key was applied. */
  has(key: string): boolean {
    return this.#find().get(key) !== undefined;
  }

  /** Stores the result of a write that was just applied, in the same transaction. */
  store(
    key: string,
    fingerprint: string,
    jobId: string,
    op: number,
    committedAtMs: number,
    result: string,
  ): void {
    this.#store().run(key, fingerprint, jobId, op, committedAtMs, result);
  }
}

/** Results of writes that returned rows, and of transactions, scripts and steps, end so. */
const NUMBERED = /,"seq":[1-9]\d*\}$/;
const NUMBERED_CHANGES = /^\[\d+,[^,]*,\d+\]$/;

/** Whether a result carries the number of its commit. */
export function hasCommitSeq(result: string): boolean {
  return result.startsWith('[') ? NUMBERED_CHANGES.test(result) : NUMBERED.test(result);
}

/**
 * A result with the number of its commit: `[changes, rowid, seq]`, or a member `seq`. Readers that do not know it ignore it.
 * @param result JSON of a WireOperationResult without it; of steps with the 0 that stands for the job's commit, if any.
 */
export function withCommitSeq(result: string, seq: number): string {
  if (result.startsWith('[')) return `${result.slice(0, -1)},${seq}]`;
  return result.startsWith('{"q":')
    ? result.replace(/,"seq":0\}$/, `,"seq":${seq}}`)
    : `${result.slice(0, -1)},"seq":${seq}}`;
}

/** SHA-256 of what a write does: its kind, SQL texts, parameters and expectations, in whichever job. */
export function fingerprint(op: WireOperation, sql: readonly string[]): string {
  return createHash('sha256')
    .update(JSON.stringify(matchOperation(op, CONTENT, sql)))
    .digest('hex');
}

/** What distinguishes one write from another. Stored as a hash: its form cannot change. */
const CONTENT: OperationCases<readonly unknown[], readonly string[]> = {
  statement: (op, sql) => ['statement', contentOf(op, sql)],
  transaction: (op, sql) => ['transaction', op.t.map(statement => contentOf(statement, sql))],
  script: (op, sql) => ['script', sql[op.x]],
  steps: (op, sql) => [
    'steps',
    op.q.map(({ s, p, x, n, c }) => [sql[s], canonical(p), x ?? 0, n ?? 0, c ?? null]),
  ],
  rows: op => ['rows', op.m],
};

function contentOf({ s, p, e }: WireStatement, sql: readonly string[]): readonly unknown[] {
  return [sql[s], canonical(p), e?.changes ?? null, e?.rows ?? null];
}

/** Named parameters in the order of their names. */
function canonical(params: WireStatement['p']): unknown {
  if (params === undefined || params === null || Array.isArray(params)) return params ?? [];
  return Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1));
}
