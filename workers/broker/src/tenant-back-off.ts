import { groupKeys } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { Parked } from './parked.ts';
import type { RedisLink } from './redis-link.ts';

/*
 * A statement that never ends, or takes too much memory, costs every tenant a change of the lead. Of a tenant that sends such statements again and
 * again the jobs are begun later each time; all others are served as ever:
 *
 *   the first           its other jobs go on at once
 *   the second          a pause of one statement timeout
 *   each one after it   twice the pause before, at most 10 minutes
 *   10 minutes without  forgotten
 *
 * Times are measured from when this process read or made the note, on the monotonic clock: a wall clock that leaps makes
 * a pause end early or begin again, and never last longer than it would be.
 */

const MAX_PAUSE_MS = 10 * 60_000;
const FORGET_AFTER_MS = 10 * 60_000;

/** What is kept of a tenant, as JSON in the group's hash. */
interface BackOffRecord {
  /** Processes that were replaced because of it. */
  readonly times: number;
  /** Wall clock, ms. */
  readonly at: number;
}

/** Tenants whose statements had the process replaced, and until when nothing of them is begun. */
export class TenantBackOff {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #timeoutMs: number;
  readonly #parked: Parked;
  readonly #log: Logger;
  /** On the monotonic clock, ms. */
  readonly #until = new Map<string, number>();
  readonly #records = new Map<string, BackOffRecord>();

  /** @param timeoutMs the deadline of a statement. */
  constructor(link: RedisLink, group: string, timeoutMs: number, parked: Parked, log: Logger) {
    this.#link = link;
    this.#key = groupKeys(group).backOff;
    this.#timeoutMs = timeoutMs;
    this.#parked = parked;
    this.#log = log;
  }

  /** Reads what predecessors noted. */
  async load(): Promise<void> {
    const flat = (await this.#link.insist(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    const forgotten: string[] = [];
    for (const [tenant, json] of Object.entries(flat)) {
      const record = JSON.parse(json) as BackOffRecord;
      const pauseMs = this.#pauseMs(record.times);
      const sinceMs = Math.max(0, Date.now() - record.at);
      if (sinceMs > pauseMs + FORGET_AFTER_MS) {
        forgotten.push(tenant);
        continue;
      }
      this.#records.set(tenant, record);
      if (sinceMs >= pauseMs) continue;
      this.#until.set(tenant, performance.now() + pauseMs - sinceMs);
      this.#log.warn(
        { tenant, times: record.times, pauseMs: Math.round(pauseMs - sinceMs) },
        'A tenant is held back: its statements had the process replaced again and again',
      );
    }
    if (forgotten.length > 0) await this.#link.insist(() => this.#link.call('HDEL', this.#key, ...forgotten));
  }

  /** For how long nothing of the tenant may be begun, in ms. Costs nothing where no tenant is held back. */
  leftMs(tenant: string): number {
    if (this.#until.size === 0) return 0;
    const until = this.#until.get(tenant);
    if (until === undefined) return 0;
    const leftMs = until - performance.now();
    if (leftMs > 0) return leftMs;
    this.#until.delete(tenant);
    return 0;
  }

  /** Notes that the process is replaced because of a tenant's statement. */
  async note(tenant: string): Promise<void> {
    const times = (this.#records.get(tenant)?.times ?? 0) + 1;
    const record: BackOffRecord = { times, at: Date.now() };
    const pauseMs = this.#pauseMs(times);
    if (pauseMs > 0) {
      this.#parked.park(tenant, {
        code: 'STATEMENT_TIMEOUT',
        message:
          `Statements of it ran past ${this.#timeoutMs} ms, or took too much memory, ${times} times, and the broker was replaced ` +
          'each time. ' +
          `Its writes wait for ${Math.ceil(pauseMs / 1_000)} s; look at its dead letters.`,
      });
    }
    await this.#link.insist(() => this.#link.call('HSET', this.#key, tenant, JSON.stringify(record)));
  }

  #pauseMs(times: number): number {
    return times < 2 ? 0 : Math.min(this.#timeoutMs * 2 ** Math.min(times - 2, 20), MAX_PAUSE_MS);
  }
}
