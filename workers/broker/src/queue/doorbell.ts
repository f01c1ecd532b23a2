import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from './redis-link.ts';

/**
 * Bells answered at a time: most of those that rang first, and some of the newest, which would wait for all before them. Few of
 * the first crowd, and twice as many of each next: a process that has just started is slow.
 */
const MAX_OLDEST_BELLS = 96;
const FIRST_OLDEST_BELLS = 12;
/** One of the newest to so many of the oldest. */
const OLDEST_PER_NEWEST = 3;
/** Rung to end a wait; no tenant's id. */
const NOBODY = '-';
/** How long the takes of a crowd are waited for, before more bells are answered. */
const MAX_CROWD_MS = 1_000;
/** How long one wait lasts; shorter than the connection's silence timeout. */
const WAIT_SECONDS = 3;

/** Takes a tenant's jobs. */
export interface Taker {
  /** Resolves when no take is under way; the next can be sent behind a wait. */
  untilTaken(): Promise<void>;
  /** Resolves when the take that is under way now is over. */
  afterTake(): Promise<void>;
  /**
   * Sends a take over `link`, on which a wait was just sent: it answers the bells that this tenant rang before it.
   * @returns undefined where nothing was sent.
   */
  takeAtBell(link: RedisLink): Promise<void> | undefined;
}

/** Settings of a {@link Doorbell}. */
export interface DoorbellOptions {
  /** A connection of its own, on which nothing else waits. */
  readonly link: RedisLink;
  readonly key: string;
  /** Gets 1 to 128 tenants, those that rang first in front. */
  readonly onRing: (tenants: readonly string[]) => void;
  /** Whose jobs can be taken behind a wait. */
  readonly taker: (tenant: string) => Taker | undefined;
  readonly log: Logger;
}

/**
 * The doorbell of a placement group: a sorted set of tenants with work, which producers add to and the broker pops,
 * waiting on one connection however many tenants there are. It survives a broker that is down. A bell that was popped
 * and then lost with this process is made up for by the sweep of its successor.
 *
 * Of many that ring at a time the newest come with the oldest, and more are answered only when the jobs of these were taken:
 * the takes of thousands of tenants would stand before that of any tenant that rings later.
 *
 * Who rang alone, twice in a row, is expected to ring next: a take of its jobs is sent behind the wait. Redis executes it
 * when the wait ends, which saves the broker a round trip between the bell and the jobs (ADR 0019).
 */
export class Doorbell {
  readonly #options: DoorbellOptions;
  /** Who alone ended the last wait. */
  #last: string | undefined;
  #expected: string | undefined;
  /** More rang than were answered at a time. */
  #crowded = false;
  /** Of the oldest bells, so many are answered at a time. */
  #oldest = FIRST_OLDEST_BELLS;
  #stopped = false;

  constructor(options: DoorbellOptions) {
    this.#options = options;
  }

  /** Listens until {@link stop}. */
  async listen(): Promise<void> {
    const { link, onRing, log } = this.#options;
    while (!this.#stopped) {
      try {
        const tenants = await link.insist(() => this.#wait());
        if (tenants.length === 0 || this.#stopped) continue;
        onRing(tenants);
        if (!this.#crowded) continue;
        await this.#untilTaken(tenants);
        this.#oldest = Math.min(2 * this.#oldest, MAX_OLDEST_BELLS);
      } catch (error) {
        if (this.#stopped) return;
        log.error({ err: error }, 'The doorbell failed; listening again');
      }
    }
  }

  /** Resolves when the jobs of these were taken, or after {@link MAX_CROWD_MS}. */
  async #untilTaken(tenants: readonly string[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>(resolve => {
      timer = setTimeout(resolve, MAX_CROWD_MS);
    });
    const taken = tenants.map(tenant => this.#options.taker(tenant)?.afterTake());
    try {
      await Promise.race([Promise.all(taken), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the wait under way, and with it a take that was sent behind it. @param link another than the one that waits. */
  async wake(link: RedisLink): Promise<void> {
    await link.call('ZADD', this.#options.key, 0, NOBODY);
  }

  /** Stops listening. Bells that ring from now on stay in Redis. */
  stop(): void {
    this.#stopped = true;
    this.#options.link.close();
  }

  /** @returns who rang and is not answered yet. */
  async #wait(): Promise<readonly string[]> {
    const { link, key, taker } = this.#options;
    const expected = this.#expected;
    const next = expected === undefined ? undefined : taker(expected);
    await next?.untilTaken();
    const wait = link.call('BZPOPMIN', key, WAIT_SECONDS);
    // This one is executed as soon as that one has an answer, and brings whoever else rang by then; then the take.
    const oldest = this.#oldest;
    const more = link.call('ZPOPMIN', key, oldest - 1);
    const newest = this.#crowded ? link.call('ZPOPMAX', key, oldest / OLDEST_PER_NEWEST) : [];
    const take = next?.takeAtBell(link);
    const [first, others, last] = await Promise.all([wait, more, newest, take]);
    const tenants: string[] = [];
    if (first !== null) tenants.push((first as [string, string])[1]);
    // Pairs in RESP3, flat in RESP2.
    const flat = [others, last].flatMap(reply => (reply as (string | string[])[]).flat());
    for (let index = 0; index < flat.length; index += 2) tenants.push(flat[index]!);
    // Pairs in RESP3 count once, else twice: as many as were asked for, in any case.
    this.#crowded = (others as unknown[]).length >= oldest - 1;
    const alone = tenants.length === 1 ? tenants[0] : undefined;
    this.#expected = alone === this.#last ? alone : undefined;
    this.#last = alone;
    return tenants.filter(tenant => tenant !== NOBODY && !(take !== undefined && tenant === expected));
  }
}
