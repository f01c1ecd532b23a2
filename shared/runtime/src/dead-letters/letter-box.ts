import { setTimeout as pause } from 'node:timers/promises';
import {
  askRedis,
  deadLetterQueue,
  groupKeys,
  LIMITS,
  newClientId,
  newJobId,
  OnewriterError,
  receiptId,
  tenantQueue,
} from '@onewriter/protocol';
import {
  createIORedisClient,
  createRedisBackend,
  type IRedisTransaction,
  Queue,
  type RedisQueueBackend,
} from 'bullmq';
import type { ChainableCommander, Redis } from 'ioredis';
import { openRedis } from '../open-redis.ts';
import { type Letter, toLetter } from './letter.ts';
import { CLAIM_LETTER } from './lua-scripts.ts';
import { createResendJob } from './resend-job.ts';

/*
 * Sending a letter's write again, so that it is applied once however often the command is cut off and repeated:
 *
 *   note the id of the job to be in the letter, unless one is there ▸ add that job, notify ▸ remove the letter
 *
 * A process that finds an id in the letter adds the same job: the queue has it, or the ledger knows it.
 */

/** A job id by that name in the letter's hash is that of the job that sends its write again. */
const RETRY_FIELD = 'onewriter.retry';

/** Letters read at once: one holds a write, which may be of some megabytes. */
const CHUNK = 20;
/** How long a tenant's full queue is waited for. */
const FULL_QUEUE_TIMEOUT_MS = 30_000;
const FULL_QUEUE_POLL_MS = 100;

/** `attempts: 1`: a retry of BullMQ's would push the job behind later ones. */
const JOB_OPTIONS = { attempts: 1, stackTraceLimit: 0 };

/** A letter whose write was sent again. */
export interface Resent {
  readonly jobId: string;
  /** Receipt id of the new write. */
  readonly receiptId: string;
}

/** The dead letters of a placement group. */
export class LetterBox implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #client = newClientId();
  readonly #queue: Queue;
  readonly #backend: RedisQueueBackend;
  readonly #maxQueueBytes: number;
  readonly #ownsConnection: boolean;

  private constructor(redis: Redis, group: string, maxQueueBytes: number, ownsConnection: boolean) {
    const { name, prefix } = deadLetterQueue(group);
    this.#redis = redis;
    this.#group = group;
    this.#maxQueueBytes = maxQueueBytes;
    this.#ownsConnection = ownsConnection;
    // Looking writes nothing: BullMQ would else note its version in the queue.
    const options = { connection: redis, prefix, skipVersionCheck: true, skipMetasUpdate: true };
    this.#backend = createRedisBackend(name, options);
    this.#queue = new Queue(name, options, (): RedisQueueBackend => this.#backend);
    this.#queue.on('error', () => {}); // the command that fails says so
  }

  /** @throws OnewriterError QUEUE_UNAVAILABLE */
  static async open(
    redisUrl: string,
    group: string,
    maxQueueBytes: number = LIMITS.maxQueueBytes,
  ): Promise<LetterBox> {
    const redis = await openRedis(redisUrl);
    const box = new LetterBox(redis, group, maxQueueBytes, true);
    try {
      await askRedis(() => box.#queue.waitUntilReady()); // BullMQ's scripts are known to the connection then
      return box;
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  /** On a connection of the caller's, which stays open. Needs no answer of Redis before its first use. */
  static over(redis: Redis, group: string, maxQueueBytes: number = LIMITS.maxQueueBytes): LetterBox {
    return new LetterBox(redis, group, maxQueueBytes, false);
  }

  /** Ids of letters, newest first: all, or `count` of them after the first `skip`. */
  async ids({ skip = 0, count = Number.POSITIVE_INFINITY } = {}): Promise<string[]> {
    const last = Number.isFinite(count) ? skip + count - 1 : -1;
    return this.#queue.getRanges(['waiting'], skip, last, false);
  }

  /** How many letters there are. */
  async count(): Promise<number> {
    return this.#redis.llen(this.#queue.toKey('wait'));
  }

  /** Reads letters, in the order of `ids`; those that are gone are left out. */
  async *read(ids: readonly string[]): AsyncGenerator<Letter> {
    for (let start = 0; start < ids.length; start += CHUNK) {
      const part = ids.slice(start, start + CHUNK);
      const jobs = await Promise.all(part.map(id => this.#queue.getJob(id)));
      for (const job of jobs) if (job !== undefined) yield toLetter(job.id!, job.timestamp, job.data);
    }
  }

  /** Removes a letter permanently. @returns false where there is none. */
  async remove(id: string): Promise<boolean> {
    if ((await this.#queue.getJob(id)) === undefined) return false;
    return (await this.#queue.remove(id)) === 1;
  }

  /**
   * Sends a letter's write again, as a new job; the letter goes when the queue has the job.
   *
   * @throws OnewriterError INVALID_ARGUMENT, UNSUPPORTED_VERSION (it cannot be sent again), NOT_FOUND (the letter is
   *   gone), TENANT_OVERLOADED (the tenant's queue stays full), QUEUE_FULL, QUEUE_UNAVAILABLE. The letter stays.
   */
  async resend({ id, content }: Letter): Promise<Resent> {
    if (content === undefined) {
      throw new OnewriterError('INVALID_ARGUMENT', `The letter ${id} cannot be read, so it cannot be sent.`);
    }
    const job = createResendJob(content, this.#client, Date.now());
    const bytes = Buffer.byteLength(job.data);
    await this.#waitForRoom(content.tenant, bytes);
    const jobId = await this.#redis.eval(CLAIM_LETTER, 1, this.#queue.toKey(id), RETRY_FIELD, newJobId());
    if (typeof jobId !== 'string') throw noSuchLetter(id);
    await this.#add(content.tenant, { id: jobId, ...job });
    await this.#queue.remove(id);
    return { jobId, receiptId: receiptId(jobId, 0) };
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#queue.close();
    if (this.#ownsConnection) this.#redis.disconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * One pipeline, in this order. The waiting bytes (add-job-script.ts of the SDK) come before the job, because a fetch
   * subtracts them; the notification comes last, because the broker could otherwise look, find nothing and sleep.
   */
  async #add(
    tenant: string,
    job: { readonly id: string; readonly name: string; readonly data: string },
  ): Promise<void> {
    const { name, prefix } = tenantQueue(this.#group, tenant);
    const keys = groupKeys(this.#group);
    // Declared as the interface of all backends, it is of this backend's own class.
    const backend = this.#backend.forQueue(name, prefix) as RedisQueueBackend;
    await this.#queue.waitUntilReady();
    const pipeline = createIORedisClient(this.#redis).pipeline() as IRedisTransaction & ChainableCommander;
    // By Redis' clock, as producers do: see add-job-script.ts of the SDK.
    const [seconds, microseconds] = await this.#redis.time();
    const nowMs = Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
    pipeline.hincrby(`${prefix}:${name}:meta`, 'onewriter.bytes', Buffer.byteLength(job.data));
    const adding = backend.addJobToTransaction(
      pipeline,
      {
        ...job,
        opts: JOB_OPTIONS,
        timestamp: nowMs,
        progress: 0,
        attemptsMade: 0,
        attemptsStarted: 0,
        stalledCounter: 0,
        failedReason: '',
        returnvalue: '',
      },
      job.id,
    );
    adding.catch(() => {}); // a failure shows in the pipeline's results
    pipeline.zadd(keys.notifications, 'NX', nowMs, tenant);
    pipeline.zadd(keys.tenants, nowMs, tenant);
    // A lost notification only costs time: the broker's sweep finds the job.
    const [, added] = (await pipeline.exec()) ?? [];
    const error = added === undefined ? new Error('Redis did not answer.') : added[0];
    if (error === null) return;
    const code = error.message.startsWith('OOM') ? 'QUEUE_FULL' : 'QUEUE_UNAVAILABLE';
    throw new OnewriterError(code, `Redis did not accept the write: ${error.message}`, { tenant }, error);
  }

  /** The bound that producers keep holds for letters, too. */
  async #waitForRoom(tenant: string, bytes: number): Promise<void> {
    const { name, prefix } = tenantQueue(this.#group, tenant);
    const deadline = performance.now() + FULL_QUEUE_TIMEOUT_MS;
    for (;;) {
      const [jobs, queuedBytes] = await Promise.all([
        this.#redis.llen(`${prefix}:${name}:wait`),
        this.#redis.hget(`${prefix}:${name}:meta`, 'onewriter.bytes'),
      ]);
      const held = Number(queuedBytes ?? 0);
      if (jobs === 0 || (jobs < LIMITS.maxQueueDepth && held + bytes <= this.#maxQueueBytes)) return;
      if (performance.now() > deadline) {
        throw new OnewriterError(
          'TENANT_OVERLOADED',
          `${jobs} jobs of tenant ${tenant} (${held} bytes) wait already, and have for ${FULL_QUEUE_TIMEOUT_MS / 1_000} s.`,
          { tenant },
        );
      }
      await pause(FULL_QUEUE_POLL_MS);
    }
  }
}

/** The error for a letter that does not exist, or no longer. */
export function noSuchLetter(id: string): OnewriterError {
  return new OnewriterError('NOT_FOUND', `There is no dead letter ${id}.`);
}
