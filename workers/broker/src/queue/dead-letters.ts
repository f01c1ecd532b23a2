import {
  type DeadLetterMessage,
  deadLetterId,
  deadLetterQueue,
  describeStatement,
  LIMITS,
  matchOperation,
  type OperationCases,
  parseReceiptId,
  parseWriteJob,
  type WireOperation,
  type WireRowsOperation,
  type WriteJobMessage,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { DeadLetter } from '@onewriter/writer';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { RedisLink } from './redis-link.ts';
import type { FetchedJob } from './tenant-queue.ts';

/** Letters whose size is asked for in one round trip. */
const SIZES_AT_ONCE = 500;

/**
 * The queue of writes that were set aside: failed writes that no caller waits for, and writes that ended their process or never
 * ended. A letter's job id is made from its receipt, so that a redelivery adds it once.
 */
export class DeadLetters {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #log: Logger;
  readonly #keep: number;
  readonly #keepBytes: number;
  #queue: Queue | undefined;
  #connection: Redis | undefined;
  /** Bytes of all letters at the last count, less those removed here since; removals by people are not noticed. */
  #counted: number | undefined;
  /** Bytes of letters added since. */
  #addedBytes = 0;
  /** The last check of the bounds; one at a time. */
  #bounding: Promise<void> = Promise.resolve();

  /**
   * @param keep letters kept at most.
   * @param keepBytes of their data kept at most; the newest letter stays, whatever its size.
   */
  constructor(
    link: RedisLink,
    group: string,
    log: Logger,
    keep: number = LIMITS.keepDeadLetters,
    keepBytes: number = LIMITS.keepDeadLetterBytes,
  ) {
    this.#link = link;
    this.#group = group;
    this.#log = log;
    this.#keep = keep;
    this.#keepBytes = keepBytes;
  }

  /**
   * Adds letters of one job; resolves when the queue has them. Repeatable. Beyond `LIMITS.keepDeadLetters` and
   * `keepDeadLetterBytes` the oldest letters are removed, and the log says so.
   */
  async add(tenant: string, job: FetchedJob, letters: readonly DeadLetter[]): Promise<void> {
    const queue = this.#open();
    const entries = letters.map(({ receiptId, error, sql }) => ({
      name: `${tenant} · ${error.code} · ${describeStatement(sql)}`,
      data: {
        tenant,
        receiptId,
        error,
        sql,
        message: tryExtractWrite(job.data, parseReceiptId(receiptId).index),
      } satisfies DeadLetterMessage,
      opts: { jobId: deadLetterId(receiptId), attempts: 1 },
    }));
    await queue.addBulk(entries);
    for (const { data } of entries) this.#addedBytes += Buffer.byteLength(JSON.stringify(data));
    const bounding = this.#bounding.catch(() => {}).then(() => this.#bound(queue));
    this.#bounding = bounding;
    await bounding;
  }

  async #bound(queue: Queue): Promise<void> {
    let removed = 0;
    const excess = (await queue.getWaitingCount()) - this.#keep;
    if (excess > 0) {
      const oldest = await queue.getRanges(['waiting'], 0, excess - 1, true);
      const sizes = await this.#sizesOf(queue, oldest);
      await this.#remove(queue, oldest);
      if (this.#counted !== undefined) this.#counted -= sizes.reduce((sum, size) => sum + size, 0);
      removed += oldest.length;
    }
    if (this.#counted === undefined || this.#counted + this.#addedBytes > this.#keepBytes) {
      // Letters added during the count are counted twice at most.
      this.#addedBytes = 0;
      const ids = await queue.getRanges(['waiting'], 0, -1, true);
      const sizes = await this.#sizesOf(queue, ids);
      const count = countToRemove(sizes, this.#keepBytes);
      await this.#remove(queue, ids.slice(0, count));
      this.#counted = sizes.slice(count).reduce((sum, size) => sum + size, 0);
      removed += count;
    }
    if (removed === 0) return;
    this.#log.error(
      { removed, kept: this.#keep, keptBytes: this.#keepBytes },
      'The dead-letter queue is full: its oldest letters were removed. See `onewriter dead-letters list`',
    );
  }

  async #remove(queue: Queue, ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map(id => queue.remove(id)));
  }

  /** Bytes of the data of letters, in the order of `ids`. */
  async #sizesOf(queue: Queue, ids: readonly string[]): Promise<readonly number[]> {
    const sizes: number[] = [];
    for (let start = 0; start < ids.length; start += SIZES_AT_ONCE) {
      const part = ids.slice(start, start + SIZES_AT_ONCE);
      sizes.push(...(await Promise.all(part.map(id => this.#connection!.hstrlen(queue.toKey(id), 'data')))));
    }
    return sizes;
  }

  /** Ends the connection, if there is one. */
  close(): void {
    this.#connection?.disconnect();
  }

  /** With the first letter, on a connection of its own: BullMQ loads some fifty scripts on it. */
  #open(): Queue {
    if (this.#queue === undefined) {
      const { name, prefix } = deadLetterQueue(this.#group);
      this.#connection = this.#link.redis.duplicate({ connectionName: 'onewriter-broker-letters' });
      this.#queue = new Queue(name, { connection: this.#connection, prefix, skipVersionCheck: true });
      // The link reports the same outages.
      this.#queue.on('error', () => {});
      this.#connection.on('error', () => {});
    }
    return this.#queue;
  }
}

/**
 * How many of the oldest letters to remove, so that their bytes fit; a tenth more, or each further letter would cause a new
 * count of all. The newest stays.
 * @param sizes oldest first
 */
export function countToRemove(sizes: readonly number[], keepBytes: number): number {
  let bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes <= keepBytes) return 0;
  let removed = 0;
  while (removed < sizes.length - 1 && bytes > keepBytes * 0.9) bytes -= sizes[removed++]!;
  return removed;
}

/** A producer that is not the SDK may send anything: a letter without a write that can be sent again is still useful. */
function tryExtractWrite(data: string, index: number): WriteJobMessage | undefined {
  try {
    return extractWrite(parseWriteJob(data), index);
  } catch {
    return undefined;
  }
}

/** Makes one write of a job a message of its own, with only the SQL texts it needs. */
export function extractWrite(message: WriteJobMessage, index: number): WriteJobMessage {
  const sql: string[] = [];
  const indexes = new Map<number, number>();
  const move = (old: number): number => {
    let moved = indexes.get(old);
    if (moved === undefined) {
      moved = sql.push(message.sql[old] ?? '') - 1;
      indexes.set(old, moved);
    }
    return moved;
  };
  const moved = matchOperation(message.ops[index]!, MOVED, move);
  return { ...message, sql, ops: [moved] };
}

type Move = (index: number) => number;

/** Each kind of write with other indexes of its SQL texts. */
const MOVED: OperationCases<WireOperation, Move> = {
  statement: (op, move) => ({ ...op, s: move(op.s) }),
  transaction: (op, move) => ({ ...op, t: op.t.map(statement => ({ ...statement, s: move(statement.s) })) }),
  script: (op, move) => ({ ...op, x: move(op.x) }),
  steps: (op, move) => ({
    ...op,
    q: op.q.map(step => ({
      ...step,
      s: move(step.s),
      ...(step.w === undefined ? {} : { w: moveRows(step.w, move) }),
    })),
  }),
  rows: (op, move) => moveRows(op, move),
};

function moveRows<Rows extends WireRowsOperation>(rows: Rows, move: Move): Rows {
  return { ...rows, w: rows.w.map(row => (row === 0 ? 0 : [move(row[0]), ...row.slice(1)])) };
}
