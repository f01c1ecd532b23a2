import {
  type DeadLetterMessage,
  deadLetterId,
  deadLetterQueue,
  describeStatement,
  LIMITS,
  parseReceiptId,
  parseWriteJob,
  type WireOperation,
  type WireRowsOperation,
  type WireStatement,
  type WriteJobMessage,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { DeadLetter } from '@onewriter/writer';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { RedisLink } from './redis-link.ts';
import type { TakenJob } from './tenant-queue.ts';

/**
 * The queue of writes that were set aside: writes that nobody waits for and that failed, and writes that took their
 * process down or never ended. A letter's job id is made from its receipt, so that a redelivery adds it once.
 */
export class DeadLetters {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #log: Logger;
  readonly #keep: number;
  #queue: Queue | undefined;
  #connection: Redis | undefined;

  /** @param keep letters kept at most. */
  constructor(link: RedisLink, group: string, log: Logger, keep: number = LIMITS.keepDeadLetters) {
    this.#link = link;
    this.#group = group;
    this.#log = log;
    this.#keep = keep;
  }

  /**
   * Adds letters of one job; resolves when the queue has them. May be repeated. Beyond `LIMITS.keepDeadLetters` the oldest
   * letters go, and the log says so.
   */
  async add(tenant: string, job: TakenJob, letters: readonly DeadLetter[]): Promise<void> {
    const queue = this.#open();
    await queue.addBulk(
      letters.map(({ receiptId, error, sql }) => ({
        name: `${tenant} · ${error.code} · ${describeStatement(sql)}`,
        data: {
          tenant,
          receiptId,
          error,
          sql,
          message: tryExtractWrite(job.data, parseReceiptId(receiptId).index),
        } satisfies DeadLetterMessage,
        opts: { jobId: deadLetterId(receiptId), attempts: 1 },
      })),
    );
    const excess = (await queue.getWaitingCount()) - this.#keep;
    if (excess > 0) await this.#removeOldest(queue, excess);
  }

  async #removeOldest(queue: Queue, count: number): Promise<void> {
    const oldest = await queue.getJobs('wait', 0, count - 1, true);
    await Promise.all(oldest.map(letter => letter.remove()));
    this.#log.error(
      { removed: oldest.length, kept: this.#keep },
      'The dead-letter queue is full: its oldest letters were removed. See `onewriter dead-letters list`',
    );
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

/** A producer that is not the SDK may send anything: a letter that cannot be sent again is still a letter. */
function tryExtractWrite(data: string, index: number): WriteJobMessage | undefined {
  try {
    return extractWrite(parseWriteJob(data), index);
  } catch {
    return undefined;
  }
}

/** One write of a job as a message of its own, with only the SQL texts it needs. */
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
  const moveStatement = (statement: WireStatement): WireStatement => ({ ...statement, s: move(statement.s) });
  const moveRows = <Rows extends WireRowsOperation>(rows: Rows): Rows => ({
    ...rows,
    w: rows.w.map(row => (row === 0 ? 0 : [move(row[0]), ...row.slice(1)])),
  });
  const operation = message.ops[index]!;
  let moved: WireOperation;
  if ('x' in operation) moved = { ...operation, x: move(operation.x) };
  else if ('t' in operation) moved = { ...operation, t: operation.t.map(moveStatement) };
  else if ('q' in operation)
    moved = {
      ...operation,
      q: operation.q.map(step => ({
        ...step,
        s: move(step.s),
        ...(step.w === undefined ? {} : { w: moveRows(step.w) }),
      })),
    };
  else if ('w' in operation) moved = moveRows(operation);
  else moved = { ...operation, ...moveStatement(operation) };
  return { ...message, sql, ops: [moved] };
}
