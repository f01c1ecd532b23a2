import type { Socket } from 'node:net';
import {
  backOffMs,
  explainReply,
  groupKeys,
  isNotNow,
  OnewriterError,
  type QueueAddress,
  tenantQueue,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { RedisClock } from '../redis/redis-clock.ts';
import { type MemoryLimits, RedisMemory } from '../redis/redis-memory.ts';
import type { JobAddress } from '../settle/job-states.ts';
import type { SdkLogger } from '../types.ts';
import { now } from '../waits.ts';
import { addJob, isNoScript, readAdded, type ScriptForm, withdrawJob } from './add-job-script.ts';
import type { OutboundJob } from './outbound-job.ts';

/** What became of sending a job once. Whether it is sent again is decided in coalescer.ts. */
export type SendOutcome =
  /** The queue has it. `depth`: jobs that wait in the tenant's queue. `isSync`: its callers wait for the replica. */
  | { readonly kind: 'accepted'; readonly depth: number; readonly isSync?: true | undefined }
  /** Redis refused it, permanently: it is not in the queue. */
  | { readonly kind: 'refused'; readonly error: OnewriterError }
  /** With those that wait, `queuedBytes`, it is too much: it is not in the queue. */
  | { readonly kind: 'overloaded'; readonly queuedBytes: number }
  /** It did not go, or Redis said "not now": it is not in the queue, and may go later. */
  | { readonly kind: 'unsent'; readonly cause: unknown }
  /** The connection broke on the way: it may be in the queue or not. */
  | { readonly kind: 'ambiguous'; readonly cause: unknown };

/** What waits in a tenant's queue. */
export interface QueueLoad {
  readonly jobs: number;
  /** Size of their data. */
  readonly bytes: number;
}

/** Sends jobs; what the coalescer needs to know of Redis. */
export interface JobSender {
  /** Since when there is no connection, on the clock of now(); undefined while there is one. */
  readonly downSince: number | undefined;
  /** Bytes of jobs that may wait for one tenant; fewer while Redis is nearly full. */
  readonly maxQueueBytes: number;
  /** Why no job is to be sent now, but those that end what is begun; undefined where there is room in Redis. */
  refusal(tenant: string): OnewriterError | undefined;
  send(job: OutboundJob): Promise<SendOutcome>;
  /** Withdraws a job that has not begun; false where that is not certain. */
  withdraw(job: JobAddress): Promise<boolean>;
  /** Undefined where Redis does not say. */
  load(tenant: string): Promise<QueueLoad | undefined>;
  /** Resolves when another attempt makes sense: there is a connection, and a pause has passed. */
  readyToRetry(attempt: number): Promise<void>;
}

/** A tenant is listed among those ever seen at its first job, and again after this. */
const LIST_EVERY_MS = 5 * 60_000;
/** Tenants whose queue keys are kept at hand; making them again is cheap. */
const MAX_QUEUES = 10_000;
const MAX_RETRY_PAUSE_MS = 1_000;

/** Like an entry of a pipeline's results. */
type Reply = readonly [error: Error | null, value: unknown];

interface Entry {
  readonly queue: SenderQueue;
  readonly job: OutboundJob;
  readonly resolve: (outcome: SendOutcome) => void;
}

interface SenderQueue {
  readonly tenant: string;
  readonly address: QueueAddress;
  listedAt: number;
}

/**
 * Sends jobs to the tenants' queues over one connection. Jobs of all tenants that are ready in the same turn of the
 * event loop go in one write to the socket:
 *
 *   add job … add job, ZADD notifications, [ZADD tenants]
 *
 * The notification comes after the jobs: before them, the broker could look, find nothing and sleep. The commands of a
 * connection are executed in order, so this needs no second round trip. Where Redis has forgotten the script (SCRIPT FLUSH),
 * the jobs are sent once more, in full, and the notification again behind them. (One script cannot do both: the queue
 * and the set of notifications have different hash tags, ADR 0024.)
 */
export class RedisSender implements JobSender {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #notifications: string;
  readonly #tenants: string;
  readonly #logger: SdkLogger;
  readonly #memory: RedisMemory;
  readonly #clock = new RedisClock();
  readonly #queues = new LRUCache<string, SenderQueue>({ max: MAX_QUEUES });
  #round: Entry[] = [];
  readonly #waiting: (() => void)[] = [];
  #downSince: number | undefined;

  constructor(redis: Redis, group: string, logger: SdkLogger, limits: MemoryLimits) {
    this.#redis = redis;
    this.#group = group;
    this.#notifications = groupKeys(group).notifications;
    this.#tenants = groupKeys(group).tenants;
    this.#logger = logger;
    this.#memory = new RedisMemory(redis, limits, logger);
    redis.on('close', () => {
      this.#downSince ??= now();
    });
    redis.on('ready', () => {
      this.#downSince = undefined;
      this.#clock.forget();
      this.#wake();
    });
    redis.on('end', () => this.#wake());
  }

  get downSince(): number | undefined {
    return this.#downSince;
  }

  get maxQueueBytes(): number {
    return this.#memory.maxQueueBytes;
  }

  refusal(tenant: string): OnewriterError | undefined {
    this.#memory.look();
    if (!this.#memory.full) return undefined;
    return new OnewriterError(
      'QUEUE_FULL',
      `Redis uses ${Math.round(this.#memory.share * 100)} % of its memory; what is left is for the work that is queued.`,
      { tenant, retryAfterMs: 1_000 },
    );
  }

  send(job: OutboundJob): Promise<SendOutcome> {
    return new Promise(resolve => {
      this.#round.push({ queue: this.#queue(job.tenant), job, resolve });
      // After all microtasks of this turn: every tenant that has work has put its job here by then.
      if (this.#round.length === 1) process.nextTick(() => void this.#sendRound());
    });
  }

  async withdraw(job: JobAddress): Promise<boolean> {
    try {
      return await withdrawJob(this.#redis, tenantQueue(this.#group, job.tenant), job.id);
    } catch {
      return false;
    }
  }

  async load(tenant: string): Promise<QueueLoad | undefined> {
    try {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      const [jobs, bytes] = await Promise.all([
        this.#redis.llen(`${prefix}:${name}:wait`),
        this.#redis.hget(`${prefix}:${name}:meta`, 'onewriter.bytes'),
      ]);
      return { jobs, bytes: jobs === 0 ? 0 : Math.max(0, Number(bytes ?? 0)) };
    } catch {
      return undefined; // asked again before the next refusal
    }
  }

  async readyToRetry(attempt: number): Promise<void> {
    // The deadline of a waiting caller keeps the process alive; this pause need not.
    const pauseMs = backOffMs(attempt + 1, { firstMs: 10, maxMs: MAX_RETRY_PAUSE_MS });
    await new Promise<void>(resolve => void setTimeout(resolve, pauseMs).unref());
    if (this.#redis.status === 'ready' || this.#redis.status === 'end') return;
    await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async #sendRound(): Promise<void> {
    const round = this.#round;
    this.#round = [];
    const unknown = await this.#sendAs('hash', round);
    if (unknown.length > 0) await this.#sendAs('full', unknown);
  }

  /** @returns those whose script Redis does not know: they are not answered yet */
  async #sendAs(form: ScriptForm, round: readonly Entry[]): Promise<readonly Entry[]> {
    if (this.#redis.status !== 'ready') {
      const cause = new Error(`The connection to Redis is ${this.#redis.status}.`);
      for (const { resolve } of round) resolve({ kind: 'unsent', cause });
      return [];
    }
    try {
      return this.#answer(form, round, await Promise.all(this.#write(form, round)));
    } catch (cause) {
      // It is unknown how much was sent.
      for (const { resolve } of round) resolve({ kind: 'ambiguous', cause });
      return [];
    }
  }

  /**
   * Writes the commands of a round to the socket at once, and returns their replies to be.
   *
   * Not with ioredis' pipeline, which makes a promise more for each command and one string of all of them; replies come
   * in the order of the commands all the same.
   */
  #write(form: ScriptForm, round: readonly Entry[]): Promise<Reply>[] {
    const redis = this.#redis;
    const time = Date.now();
    const redisTime = this.#clock.now();
    const replies: Promise<Reply>[] = [];
    const { stream } = redis as unknown as { stream: Socket };
    stream.cork();
    try {
      const { maxQueueBytes } = this.#memory;
      for (const { queue, job } of round) {
        replies.push(toReply(addJob(redis, queue.address, job, form, redisTime, maxQueueBytes)));
      }
      replies.push(
        toReply(redis.zadd(this.#notifications, 'NX', ...round.flatMap(({ queue }) => [time, queue.tenant]))),
      );
      const unlisted = round.filter(({ queue }) => time - queue.listedAt >= LIST_EVERY_MS);
      if (unlisted.length > 0) {
        replies.push(
          toReply(redis.zadd(this.#tenants, ...unlisted.flatMap(({ queue }) => [time, queue.tenant]))),
        );
        for (const { queue } of unlisted) queue.listedAt = time;
      }
    } finally {
      stream.uncork();
    }
    return replies;
  }

  /**
   * @param @param results of the jobs, then of the notification
   * @returns those whose script Redis does not know, where they can be sent in full
   */
  #answer(form: ScriptForm, round: readonly Entry[], results: readonly Reply[]): readonly Entry[] {
    const unknown: Entry[] = [];
    const notifyError = results[round.length]?.[0];
    for (let index = 0; index < round.length; index++) {
      const { resolve, queue } = round[index]!;
      const [error, reply] = results[index] ?? [new Error('Redis did not answer.'), undefined];
      if (form === 'hash' && isNoScript(error)) unknown.push(round[index]!);
      else if (error) resolve(this.#classify(error, queue.tenant));
      else {
        const { depth, redisMs, isSync } = readAdded(reply);
        if (redisMs !== undefined) this.#clock.read(redisMs);
        if (depth < 0) {
          resolve({ kind: 'overloaded', queuedBytes: -depth });
          continue;
        }
        resolve({ kind: 'accepted', depth, isSync });
        if (notifyError && this.#redis.status === 'ready') {
          // The broker's sweep finds the job, and the check of a late job notifies again.
          this.#logger.warn(
            { err: notifyError, tenant: queue.tenant },
            'Could not notify the broker; its sweep will find the job',
          );
        }
      }
    }
    return unknown;
  }

  #classify(error: Error, tenant: string): SendOutcome {
    const { message } = error;
    if (error.name === 'ReplyError') {
      if (isNotNow(message)) return { kind: 'unsent', cause: error };
      return { kind: 'refused', error: refusal(error, tenant) };
    }
    // Source: ioredis, Redis.js (sendCommand) with enableOfflineQueue off: said before anything is written.
    if (message.startsWith("Stream isn't writeable")) return { kind: 'unsent', cause: error };
    return { kind: 'ambiguous', cause: error };
  }

  #queue(tenant: string): SenderQueue {
    let queue = this.#queues.get(tenant);
    if (queue === undefined) {
      const address = tenantQueue(this.#group, tenant);
      queue = { tenant, address, listedAt: Number.NEGATIVE_INFINITY };
      this.#queues.set(tenant, queue);
    }
    return queue;
  }
}

function toReply(command: Promise<unknown>): Promise<Reply> {
  return command.then(
    value => [null, value],
    (error: Error) => [error, undefined],
  );
}

function refusal(error: Error, tenant: string): OnewriterError {
  const explained = explainReply(error);
  if (explained !== undefined) return explained;
  return error.message.startsWith('OOM')
    ? new OnewriterError(
        'QUEUE_FULL',
        'Redis is out of memory; the write was not accepted.',
        { tenant, retryAfterMs: 1_000 },
        error,
      )
    : new OnewriterError(
        'QUEUE_UNAVAILABLE',
        `Redis refused the write: ${error.message}`,
        { tenant, retryAfterMs: 1_000 },
        error,
      );
}
