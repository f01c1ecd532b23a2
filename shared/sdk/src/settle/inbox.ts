import {
  eventsKey,
  inboxQueue,
  LIMITS,
  type QueueAddress,
  SETTLED_EVENT,
  type SettledEvent,
} from '@onewriter/protocol';
import { QueueEvents } from 'bullmq';
import type { Redis } from 'ioredis';
import type { SdkLogger } from '../types.ts';

/** Settings of an {@link Inbox}. */
export interface InboxOptions {
  readonly group: string;
  readonly clientId: string;
  /** For commands; the inbox makes a connection of its own for waiting, after `blockingModel`. */
  readonly redis: Redis;
  readonly blockingModel: Redis;
  readonly logger: SdkLogger;
  readonly onEvent: (event: Partial<SettledEvent>) => void;
  /** Called after each event with its age in the stream, in ms by the clocks of Redis and of this host. */
  readonly onAnswered?: ((ms: number) => void) | undefined;
}

/** How long one XREAD waits. After a lost connection BullMQ waits this long, and a second, before it reads again. */
const BLOCKING_TIMEOUT_MS = 5_000;
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * The client's inbox: a queue of which only the event stream exists, to which the broker adds one event for every job
 * of this client that is done. One connection and one read at a time, however many tenants the client talks to.
 * Events are a hint: settler.ts asks when one is lost.
 */
export class Inbox {
  readonly #options: InboxOptions;
  readonly #queue: QueueAddress;
  readonly #events: QueueEvents;
  readonly #heartbeat: NodeJS.Timeout;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#queue = inboxQueue(options.group, options.clientId);
    this.#events = new QueueEvents(this.#queue.name, {
      prefix: this.#queue.prefix,
      connection: options.blockingModel,
      skipVersionCheck: true,
      blockingTimeout: BLOCKING_TIMEOUT_MS,
      // The stream is new with the client, so its beginning misses nothing; the default, its end, is determined when the
      // first read reaches the server, and what is settled before that would be lost.
      lastEventId: '0-0',
    });
    const events = this.#events as unknown as NodeJS.EventEmitter;
    events.on(SETTLED_EVENT, (event: Partial<SettledEvent>, id?: string) => {
      options.onEvent(event);
      // An entry's id begins with the time at which it was added.
      if (id !== undefined) options.onAnswered?.(Date.now() - Number.parseInt(id, 10));
    });
    let reported = false;
    events.on('error', error => {
      if (!reported)
        options.logger.warn({ err: error }, 'The inbox cannot be read; asking for outcomes meanwhile');
      reported = true;
    });
    events.on(SETTLED_EVENT, () => {
      reported = false;
    });
    // The stream appears with its first event; the broker renews it with each.
    this.#heartbeat = setInterval(() => this.#keepAlive(), LIMITS.inboxTtlMs / 3).unref();
  }

  /** Resolves when the first read can begin. */
  async ready(): Promise<void> {
    await this.#events.waitUntilReady();
  }

  /** Stops reading and deletes the stream. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    // While Redis is away BullMQ waits for it before it closes.
    const closing = this.#events.close().catch(() => {});
    await Promise.race([closing, late]);
    clearTimeout(timer);
    // Without this it would expire after LIMITS.inboxTtlMs.
    await this.#options.redis.del(eventsKey(this.#queue)).catch(() => {});
  }

  #keepAlive(): void {
    // A beat that fails is made up for by the next.
    this.#options.redis.pexpire(eventsKey(this.#queue), LIMITS.inboxTtlMs).catch(() => {});
  }
}
