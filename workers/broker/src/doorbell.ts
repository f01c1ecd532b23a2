import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from './redis-link.ts';

/** Bells answered at a time. */
const MAX_BELLS = 256;
/** How long one wait lasts; shorter than the connection's silence timeout. */
const WAIT_SECONDS = 3;

/**
 * The doorbell of a placement group: a sorted set of tenants with work, which producers add to and the broker pops,
 * waiting on one connection however many tenants there are. It survives a broker that is down. A bell that was popped
 * and then lost with this process is made up for by the sweep of its successor.
 */
export class Doorbell {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #onRing: (tenants: readonly string[]) => void;
  readonly #log: Logger;
  #stopped = false;

  /**
   * @param link a connection of its own, on which nothing else waits.
   * @param onRing gets 1 to 256 tenants, those that rang first in front.
   */
  constructor(link: RedisLink, key: string, onRing: (tenants: readonly string[]) => void, log: Logger) {
    this.#link = link;
    this.#key = key;
    this.#onRing = onRing;
    this.#log = log;
  }

  /** Listens until {@link stop}. */
  async listen(): Promise<void> {
    while (!this.#stopped) {
      try {
        const tenants = await this.#link.insist(() => this.#wait());
        if (tenants.length > 0 && !this.#stopped) this.#onRing(tenants);
      } catch (error) {
        if (this.#stopped) return;
        this.#log.error({ err: error }, 'The doorbell failed; listening again');
      }
    }
  }

  /** Stops listening. Bells that ring from now on stay in Redis. */
  stop(): void {
    this.#stopped = true;
    this.#link.close();
  }

  async #wait(): Promise<readonly string[]> {
    // The second is executed as soon as the first has an answer, and brings whoever else rang by then.
    const [first, others] = await Promise.all([
      this.#link.call('BZPOPMIN', this.#key, WAIT_SECONDS),
      this.#link.call('ZPOPMIN', this.#key, MAX_BELLS - 1),
    ]);
    const tenants: string[] = [];
    if (first !== null) tenants.push((first as [string, string])[1]);
    // Pairs in RESP3, flat in RESP2.
    const flat = (others as (string | string[])[]).flat();
    for (let index = 0; index < flat.length; index += 2) tenants.push(flat[index]!);
    return tenants;
  }
}
