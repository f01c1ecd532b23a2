import { LIMITS, OnewriterError } from '@onewriter/protocol';
import { now } from '../waits.ts';
import type { JobSender } from './sender.ts';

/** Without a connection for this long, writes that were not sent are refused. A restart of Redis is shorter. */
export const OUTAGE_GRACE_MS = 5_000;
/** While too much waits in the queue, it is asked again after this at the earliest. */
const LOAD_CHECK_MS = 200;
const OVERLOAD_RETRY_AFTER_MS = 500;

/** Whether the queue of a tenant takes more writes now: what is known of it, and the errors of those that it does not take. */
export class QueueRoom {
  readonly #tenant: string;
  readonly #sender: JobSender;
  /** Its jobs continue an open transaction. */
  readonly #followsUp: boolean;
  /** Depth of the queue, as last reported; refused above LIMITS.maxQueueDepth. */
  #depth = 0;
  /** Bytes waiting in the queue, as reported since a job was too much; 0 where none was. */
  #queuedBytes = 0;
  #loadAskedAt = Number.NEGATIVE_INFINITY;
  /** Since when Redis answers "not now", though there is a connection. */
  #notNowSince: number | undefined;

  constructor(tenant: string, sender: JobSender, followsUp: boolean) {
    this.#tenant = tenant;
    this.#sender = sender;
    this.#followsUp = followsUp;
  }

  /** @throws OnewriterError QUEUE_UNAVAILABLE, QUEUE_FULL, TENANT_OVERLOADED */
  assertFor(bytes: number): void {
    if (this.#sender.downSince !== undefined && this.isOut(now())) throw this.unavailable();
    const full = this.redisFull;
    if (full !== undefined) throw full;
    if (this.#depth >= LIMITS.maxQueueDepth) {
      this.#askLoad();
      throw this.#overloaded(`${this.#depth} jobs, its limit is ${LIMITS.maxQueueDepth}`);
    }
    if (this.#queuedBytes > 0 && this.#queuedBytes + bytes > this.#sender.maxQueueBytes) {
      this.#askLoad();
      throw this.tooManyBytes();
    }
  }

  /** Whether there has been no connection for too long. */
  isOut(time: number): boolean {
    const { outageEndsAt } = this;
    return outageEndsAt !== undefined && time >= outageEndsAt;
  }

  /** When writes that were not sent are refused; undefined where there is a connection. */
  get outageEndsAt(): number | undefined {
    const { downSince } = this.#sender;
    return downSince === undefined ? undefined : downSince + OUTAGE_GRACE_MS;
  }

  /** Undefined where there is room in Redis. */
  get redisFull(): OnewriterError | undefined {
    return this.#followsUp ? undefined : this.#sender.refusal(this.#tenant);
  }

  noteAccepted(depth: number): void {
    this.#depth = depth;
    this.#queuedBytes = 0;
    this.#notNowSince = undefined;
  }

  noteOverload(queuedBytes: number): void {
    this.#queuedBytes = queuedBytes;
  }

  noteRefused(): void {
    this.#notNowSince = undefined;
  }

  /** Where Redis answers, but "not now", for too long, its writes need not wait for their deadlines. */
  notNowTooLong(cause: unknown): OnewriterError | undefined {
    if (this.#sender.downSince !== undefined) {
      this.#notNowSince = undefined;
      return undefined;
    }
    this.#notNowSince ??= now();
    if (now() - this.#notNowSince < OUTAGE_GRACE_MS) return undefined;
    this.#notNowSince = undefined;
    return this.unavailable(cause);
  }

  tooManyBytes(): OnewriterError {
    return this.#overloaded(`${this.#queuedBytes} bytes, its limit is ${this.#sender.maxQueueBytes}`);
  }

  unavailable(cause?: unknown): OnewriterError {
    const details = { tenant: this.#tenant, retryAfterMs: 1_000 };
    return new OnewriterError(
      'QUEUE_UNAVAILABLE',
      'Redis accepts no writes now; nothing was sent.',
      details,
      cause,
    );
  }

  /** The error of a write that was not sent by its deadline. */
  late(): OnewriterError {
    const reason = this.#sender.downSince === undefined ? undefined : 'Redis is not reachable';
    return new OnewriterError('TIMEOUT', 'The deadline passed before the write was sent.', {
      tenant: this.#tenant,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  #askLoad(): void {
    const time = now();
    if (time - this.#loadAskedAt < LOAD_CHECK_MS) return;
    this.#loadAskedAt = time;
    void this.#sender.load(this.#tenant).then(load => {
      if (load === undefined) return;
      this.#depth = load.jobs;
      this.#queuedBytes = load.bytes;
    });
  }

  #overloaded(held: string): OnewriterError {
    return new OnewriterError('TENANT_OVERLOADED', `The tenant's queue holds ${held}.`, {
      tenant: this.#tenant,
      retryAfterMs: OVERLOAD_RETRY_AFTER_MS,
    });
  }
}
