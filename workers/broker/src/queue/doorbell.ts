import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from './redis-link.ts';

/**
 * Notifications answered at a time: most of the oldest, and some of the newest, which would otherwise wait for all before them.
 * Few of the first crowd, and twice as many of each next: a process that has just started is slow.
 */
const MAX_OLDEST = 96;
const FIRST_OLDEST = 12;
/** One of the newest to this many of the oldest. */
const OLDEST_PER_NEWEST = 3;
/** An entry that ends a wait; not a tenant id. */
const NO_TENANT = '-';
/** How long the fetches of a crowd may take before more notifications are answered. */
const MAX_CROWD_MS = 1_000;
/** How long one wait lasts; shorter than the connection's silence timeout. */
const WAIT_SECONDS = 3;

/** Fetches a tenant's jobs. */
export interface Fetcher {
  /** Resolves when no fetch is under way; the next can be sent behind a wait. */
  untilFetched(): Promise<void>;
  /** Resolves when the current fetch is over. */
  afterFetch(): Promise<void>;
  /**
   * Sends a fetch over `link`, on which a wait was just sent: it answers the earlier notifications of this tenant.
   * @returns undefined where nothing was sent.
   */
  fetchAtNotification(link: RedisLink): Promise<void> | undefined;
}

/** Settings of a {@link Doorbell}. */
export interface DoorbellOptions {
  /** A connection of its own, on which nothing else waits. */
  readonly link: RedisLink;
  readonly key: string;
  /** Called with 1 to 128 tenants, the oldest notifications first. */
  readonly onNotified: (tenants: readonly string[]) => void;
  /** The session whose jobs can be fetched behind a wait. */
  readonly fetcher: (tenant: string) => Fetcher | undefined;
  readonly log: Logger;
}

/**
 * The doorbell of a placement group: a sorted set of tenants with work, which producers add to and the broker pops, waiting on
 * one connection however many tenants there are. It survives a broker that is down. If this process dies with a popped
 * notification, the sweep of its successor finds the work.
 *
 * Of a crowd the newest notifications come with the oldest, and more are answered only when the jobs of these were fetched:
 * otherwise the fetches of thousands of tenants would run before that of a tenant that notifies later.
 *
 * A tenant that alone ended two waits in a row is expected to end the next: a fetch of its jobs is sent behind the wait. Redis
 * executes it when the wait ends, which saves the broker a round trip between notification and jobs (ADR 0019).
 */
export class Doorbell {
  readonly #options: DoorbellOptions;
  /** The tenant that alone ended the last wait. */
  #last: string | undefined;
  #expected: string | undefined;
  /** There were more notifications than are answered at a time. */
  #crowded = false;
  /** How many of the oldest notifications are answered at a time. */
  #oldest = FIRST_OLDEST;
  #stopped = false;

  constructor(options: DoorbellOptions) {
    this.#options = options;
  }

  /** Listens until {@link stop}. */
  async listen(): Promise<void> {
    const { link, onNotified, log } = this.#options;
    while (!this.#stopped) {
      try {
        const tenants = await link.retryUntilDone(() => this.#wait());
        if (tenants.length === 0 || this.#stopped) continue;
        onNotified(tenants);
        if (!this.#crowded) continue;
        await this.#untilFetched(tenants);
        this.#oldest = Math.min(2 * this.#oldest, MAX_OLDEST);
      } catch (error) {
        if (this.#stopped) return;
        log.error({ err: error }, 'The doorbell failed; listening again');
      }
    }
  }

  /** Resolves when the jobs of these tenants were fetched, or after {@link MAX_CROWD_MS}. */
  async #untilFetched(tenants: readonly string[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>(resolve => {
      timer = setTimeout(resolve, MAX_CROWD_MS);
    });
    const fetches = tenants.map(tenant => this.#options.fetcher(tenant)?.afterFetch());
    try {
      await Promise.race([Promise.all(fetches), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the current wait, and with it a fetch sent behind it. @param link not the one that waits. */
  async wake(link: RedisLink): Promise<void> {
    await link.call('ZADD', this.#options.key, 0, NO_TENANT);
  }

  /** Stops listening. Later notifications stay in Redis. */
  stop(): void {
    this.#stopped = true;
    this.#options.link.close();
  }

  /** @returns the tenants whose notifications are not answered yet. */
  async #wait(): Promise<readonly string[]> {
    const { link, key, fetcher } = this.#options;
    const expected = this.#expected;
    const next = expected === undefined ? undefined : fetcher(expected);
    await next?.untilFetched();
    const wait = link.call('BZPOPMIN', key, WAIT_SECONDS);
    // Redis executes this as soon as the wait has an answer; it returns the other notifications up to then. Then comes the fetch.
    const oldest = this.#oldest;
    const more = link.call('ZPOPMIN', key, oldest - 1);
    const newest = this.#crowded ? link.call('ZPOPMAX', key, oldest / OLDEST_PER_NEWEST) : [];
    const fetching = next?.fetchAtNotification(link);
    const [first, others, last] = await Promise.all([wait, more, newest, fetching]);
    const tenants: string[] = [];
    if (first !== null) tenants.push((first as [string, string])[1]);
    // Pairs in RESP3, flat in RESP2.
    const flat = [others, last].flatMap(reply => (reply as (string | string[])[]).flat());
    for (let index = 0; index < flat.length; index += 2) tenants.push(flat[index]!);
    // RESP3 pairs count once, RESP2 elements twice: in both cases this means that all requested entries came.
    this.#crowded = (others as unknown[]).length >= oldest - 1;
    const alone = tenants.length === 1 ? tenants[0] : undefined;
    this.#expected = alone === this.#last ? alone : undefined;
    this.#last = alone;
    return tenants.filter(tenant => tenant !== NO_TENANT && !(fetching !== undefined && tenant === expected));
  }
}
