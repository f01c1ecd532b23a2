import { createHash } from 'node:crypto';
import {
  type ImportMark,
  LIMITS,
  OnewriterError,
  type WireOperation,
  type WireStatement,
} from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { lazily } from './lazily.ts';

/*
 * A write with an idempotency key is applied once per tenant and key: a second one with the same content gets the
 * stored result, one with other content is refused. Only a write that was applied is stored: one that failed left
 * nothing behind, so trying it again is safe and may succeed.
 */

interface StoredKey {
  readonly fingerprint: string;
  readonly result: string;
}

/** The idempotency keys in one tenant's file. */
export class IdempotencyKeys {
  readonly #find: () => Statement<[string], StoredKey>;
  readonly #store: () => Statement<[string, string, string, number, number, string]>;
  readonly #replace: () => Statement<[string, string, string, number, number, string]>;
  readonly #findRowKeys: () => Statement<[string, string]>;

  constructor(db: Database) {
    this.#find = lazily(() => db.prepare('SELECT fingerprint, result FROM _onewriter_keys WHERE key = ?'));
    this.#store = lazily(() => db.prepare('INSERT INTO _onewriter_keys VALUES (?, ?, ?, ?, ?, ?)'));
    this.#replace = lazily(() =>
      db.prepare('INSERT OR REPLACE INTO _onewriter_keys VALUES (?, ?, ?, ?, ?, ?)'),
    );
    this.#findRowKeys = lazily(() =>
      db.prepare('SELECT 1 FROM _onewriter_keys WHERE key > ? AND key < ? LIMIT 1'),
    );
  }

  /**
   * Finds what was stored for a key.
   * @returns the JSON of a WireOperationResult, or undefined.
   * @throws OnewriterError IDEMPOTENCY_KEY_REUSED, INVALID_ARGUMENT for what is not a key.
   */
  find(key: unknown, fingerprint: string): string | undefined {
    if (typeof key !== 'string' || key === '' || key.length > LIMITS.maxIdempotencyKeyLength) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `An idempotency key has 1 to ${LIMITS.maxIdempotencyKeyLength} characters.`,
      );
    }
    const stored = this.#find().get(key);
    if (stored === undefined || stored.fingerprint === fingerprint) return stored?.result;
    throw new OnewriterError(
      'IDEMPOTENCY_KEY_REUSED',
      'The idempotency key was used before with another write.',
    );
  }

  /**
   * How far an import is; its mark lies among the keys, as the result of the import's key.
   * @throws OnewriterError IDEMPOTENCY_KEY_REUSED, INVALID_ARGUMENT as {@link find}
   */
  findMark(key: string, fingerprint: string): ImportMark | undefined {
    const stored = this.find(key, fingerprint);
    return stored === undefined ? undefined : (JSON.parse(stored) as ImportMark);
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

/** SHA-256 of what a write does: its kind, SQL texts, parameters and expectations, whatever job carries them. */
export function fingerprint(op: WireOperation, sql: readonly string[]): string {
  const statement = ({ s, p, e }: WireStatement) => [
    sql[s],
    canonical(p),
    e?.changes ?? null,
    e?.rows ?? null,
  ];
  const content =
    't' in op
      ? ['transaction', op.t.map(statement)]
      : 'x' in op
        ? ['script', sql[op.x]]
        : 'q' in op
          ? ['steps', op.q.map(({ s, p, x, n, c }) => [sql[s], canonical(p), x ?? 0, n ?? 0, c ?? null])]
          : 'w' in op
            ? ['rows', op.m]
            : ['statement', statement(op)];
  return createHash('sha256').update(JSON.stringify(content)).digest('hex');
}

/** Named parameters in the order of their names. */
function canonical(params: WireStatement['p']): unknown {
  if (params === undefined || params === null || Array.isArray(params)) return params ?? [];
  return Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1));
}
