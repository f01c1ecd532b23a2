import type { BaseAdapter } from '@bull-board/api/baseAdapter';
import { groupKeys } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import type { BoardQueue, QueueFactory } from './queue-factory.ts';

/** Settings of {@link BoardQueues}. */
export interface BoardQueuesOptions {
  readonly redis: Redis;
  readonly group: string;
  readonly queues: QueueFactory;
  readonly deadLetters: BoardQueue;
  /** Gives the board the queues it shows from now on. */
  readonly show: (queues: readonly BaseAdapter[]) => void;
  readonly log: Logger;
}

/** Tenants shown because they were active last. The board asks Redis five things per queue and poll. */
const MAX_RECENT = 50;
/** Tenants shown on request; the oldest request is dropped first. */
const MAX_ASKED = 20;
const REFRESH_INTERVAL_MS = 5_000;

/**
 * Which queues the board shows: the dead letters, the tenants that were active last, and those that were
 * asked for. Their number is bounded, however many tenants there are.
 */
export class BoardQueues {
  readonly #options: BoardQueuesOptions;
  readonly #tenants = new Map<string, BoardQueue>();
  readonly #deadLetters: BoardQueue;
  readonly #asked = new LRUCache<string, true>({ max: MAX_ASKED });
  #recent: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> | undefined;
  #failing = false;

  constructor(options: BoardQueuesOptions) {
    this.#options = options;
    this.#deadLetters = options.deadLetters;
  }

  /** Refreshes now and from then on every few seconds. Redis being away is logged, once per outage. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#refreshOrLog(), REFRESH_INTERVAL_MS);
    await this.#refreshOrLog();
  }

  /** Whether the tenant's queue is on the board. */
  isShown(tenant: string): boolean {
    return this.#tenants.has(tenant);
  }

  /**
   * Puts a tenant on the board, or keeps it there.
   * @returns false where no tenant of that name was ever written to.
   */
  async ask(tenant: string): Promise<boolean> {
    if (!this.#asked.has(tenant) && !this.isShown(tenant)) {
      const { redis, group } = this.#options;
      if ((await redis.zscore(groupKeys(group).tenants, tenant)) === null) return false;
    }
    this.#asked.set(tenant, true);
    if (!this.isShown(tenant)) this.#show();
    return true;
  }

  /** Looks which tenants were active last, and shows them. */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#readRecent().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([this.#refreshing]);
    await Promise.all([this.#deadLetters, ...this.#tenants.values()].map(queue => queue.close()));
    this.#tenants.clear();
  }

  async #readRecent(): Promise<void> {
    const { redis, group } = this.#options;
    this.#recent = await redis.zrevrange(groupKeys(group).tenants, 0, MAX_RECENT - 1);
    this.#show();
  }

  #show(): void {
    const { queues, show, log } = this.#options;
    const wanted = new Set([...this.#recent, ...this.#asked.rkeys()]);
    for (const tenant of wanted) {
      if (!this.#tenants.has(tenant)) this.#tenants.set(tenant, queues.tenant(tenant));
    }
    for (const [tenant, queue] of this.#tenants) {
      if (wanted.has(tenant)) continue;
      this.#tenants.delete(tenant);
      queue.close().catch(error => log.warn({ err: error, tenant }, 'Closing a queue failed'));
    }
    show([this.#deadLetters, ...this.#tenants.values()].map(queue => queue.adapter));
  }

  async #refreshOrLog(): Promise<void> {
    try {
      await this.refresh();
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#options.log.error({ err: error }, 'Listing the active tenants failed');
      this.#failing = true;
    }
  }
}
