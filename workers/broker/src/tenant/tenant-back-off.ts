import { groupKeys } from '@onewriter/protocol';
import { appendAudit, type Config, type Logger } from '@onewriter/runtime';
import { ADD_HOLD, holdKeys, LASTING_HOLD_MS, REPEAT_OFFENDER } from '@onewriter/tenants';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';
import type { Parked } from './parked.ts';

/*
 * A write that never ends, uses too much memory or ends its process costs every tenant a change of the lead. A tenant that
 * repeatedly sends such writes is throttled, then paused; all others are served as usual (ADR 0023, ADR 0043):
 *
 *   first offence       its other jobs begin at once
 *   second offence      a pause of one statement timeout
 *   each later offence  twice the last pause, at most 10 minutes
 *   10 minutes without  the pauses start again with the first
 *   offenceLimit within offenceWindowMs
 *                       a hold named repeat-offender: nothing is fetched, the file is closed, the queue stays, until a person
 *                       resumes the tenant (resumeTenant), who also clears the count
 *   twice offenceLimit within offenceWindowMs, of all tenants together
 *                       the next tenant is held at its first: a token of many tenants gets no offenceLimit for each
 *
 * Pauses are measured from when this process read or made the note, on the monotonic clock: a wall clock that leaps makes
 * a pause end early or begin again, and never last longer than it would be. The window is by the wall clock: set forward it
 * forgets offences, set back it keeps them longer.
 */

const MAX_PAUSE_MS = 10 * 60_000;
const FORGET_AFTER_MS = 10 * 60_000;
/** A poisoned job ended its process alone twice; other tenants may be to blame for its crashes beside others. */
const POISON_OFFENCES = 2;
/** Above this many times a tenant's limit, offences of all tenants together pause the next offender. */
const LIMIT_OF_ALL = 2;

/** Offences of a tenant, as JSON in the group's hash: one entry per tenant, a bounded list in each. */
interface BackOffRecord {
  /** Processes that were replaced because of it, without 10 minutes in between. */
  readonly times: number;
  /** When the last one was, wall clock, ms. */
  readonly at: number;
  /** Times of the last offences, at most as many as pause the tenant. Absent in records of older brokers. */
  readonly offences?: readonly number[] | undefined;
  /** Why it is paused; absent where it is not. */
  readonly paused?: string | undefined;
}

/** Settings of {@link TenantBackOff}. */
export type BackOffOptions = Pick<
  Config,
  'group' | 'statementTimeoutMs' | 'offenceLimit' | 'offenceWindowMs'
>;

const addHold = defineScript(2, ADD_HOLD);

/** Tenants whose writes caused a replacement of the process: how long they are held back, and which are paused. */
export class TenantBackOff {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #options: BackOffOptions;
  readonly #parked: Parked;
  readonly #log: Logger;
  /** On the monotonic clock, ms. */
  readonly #until = new Map<string, number>();

  constructor(link: RedisLink, options: BackOffOptions, parked: Parked, log: Logger) {
    this.#link = link;
    this.#key = groupKeys(options.group).backOff;
    this.#options = options;
    this.#parked = parked;
    this.#log = log;
  }

  /** Reads the notes of predecessors; the parked tenants are read before. @returns tenants that are paused */
  async load(): Promise<readonly string[]> {
    const forgotten: string[] = [];
    const paused: string[] = [];
    for (const [tenant, record] of await this.#read()) {
      if (record.paused !== undefined) {
        paused.push(tenant);
        await this.#pause(tenant, record.paused);
        continue;
      }
      const now = Date.now();
      const sinceMs = Math.max(0, now - record.at);
      if (this.#timesOf(record, now) === undefined && sinceMs >= this.#options.offenceWindowMs) {
        forgotten.push(tenant);
        continue;
      }
      const leftMs = this.#pauseMs(record.times) - sinceMs;
      if (leftMs > 0) this.#holdBack(tenant, record.times, leftMs);
    }
    if (forgotten.length > 0)
      await this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#key, ...forgotten));
    // Resumed while no broker led.
    for (const tenant of this.#parked.withCode('TENANT_PAUSED')) {
      if (!paused.includes(tenant)) this.#parked.resume(tenant);
    }
    return paused;
  }

  /** How long no job of the tenant may begin, in ms. Costs nothing where no tenant is held back. */
  leftMs(tenant: string): number {
    if (this.#until.size === 0) return 0;
    const until = this.#until.get(tenant);
    if (until === undefined) return 0;
    const leftMs = until - performance.now();
    if (leftMs > 0) return leftMs;
    this.#until.delete(tenant);
    return 0;
  }

  /** Notes that the process is replaced because of a tenant's write. @returns whether the tenant is paused now */
  async note(tenant: string): Promise<boolean> {
    const record = await this.#count(tenant, 1);
    return record.paused !== undefined;
  }

  /** Notes that a job of a tenant repeatedly ended its process. @returns as {@link note} */
  async notePoison(tenant: string): Promise<boolean> {
    const record = await this.#count(tenant, POISON_OFFENCES);
    if (record.paused !== undefined) return true;
    // This process keeps running.
    const pauseMs = this.#pauseMs(record.times);
    if (pauseMs > 0) this.#holdBack(tenant, record.times, pauseMs);
    return false;
  }

  /** No hold is left on the tenant. */
  onResumed(tenant: string): void {
    if (this.#parked.codeOf(tenant) !== 'TENANT_PAUSED') return;
    this.#until.delete(tenant);
    this.#parked.resume(tenant);
  }

  async #count(tenant: string, offences: number): Promise<BackOffRecord> {
    const { offenceLimit, offenceWindowMs } = this.#options;
    // Not from memory: a person may have resumed the tenant since.
    const records = await this.#read();
    const known = records.get(tenant);
    const now = Date.now();
    const times = (this.#timesOf(known, now) ?? 0) + offences;
    const recentOf = (record: BackOffRecord | undefined) =>
      (record?.offences ?? []).filter(at => now - at < offenceWindowMs);
    const counted = [...recentOf(known), ...Array<number>(offences).fill(now)].slice(
      -Math.max(offenceLimit, 1),
    );
    let ofAll = offences;
    for (const record of records.values()) ofAll += recentOf(record).length;
    const isRepeated = counted.length >= offenceLimit;
    const isPaused = offenceLimit > 0 && (isRepeated || ofAll > offenceLimit * LIMIT_OF_ALL);
    const record: BackOffRecord = {
      ...{ times, at: now, offences: counted },
      ...(isPaused
        ? {
            paused: isRepeated ? this.#reasonOf(tenant, counted.length) : this.#reasonOf(tenant, ofAll, true),
          }
        : {}),
    };
    await this.#link.retryUntilDone(() => this.#link.call('HSET', this.#key, tenant, JSON.stringify(record)));
    const pauseMs = this.#pauseMs(record.times);
    if (record.paused !== undefined) await this.#pause(tenant, record.paused);
    else if (pauseMs > 0) {
      this.#parked.park(tenant, {
        code: 'STATEMENT_TIMEOUT',
        message:
          `The broker was replaced ${record.times} times because of its writes: a statement ran past ` +
          `${this.#options.statementTimeoutMs} ms, used too much memory, or ended its process. Its writes wait for ` +
          `${Math.ceil(pauseMs / 1_000)} s; look at its dead letters.`,
      });
    }
    return record;
  }

  /** One entry for each tenant that offended and was not forgotten. */
  async #read(): Promise<Map<string, BackOffRecord>> {
    const flat = (await this.#link.retryUntilDone(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    return new Map(Object.entries(flat).map(([tenant, json]) => [tenant, JSON.parse(json) as BackOffRecord]));
  }

  #holdBack(tenant: string, times: number, leftMs: number): void {
    this.#until.set(tenant, performance.now() + leftMs);
    this.#log.warn(
      { tenant, times, pauseMs: Math.round(leftMs) },
      'Holding a tenant back: its writes repeatedly caused a replacement of the process',
    );
  }

  /** Adds the hold if it is missing, also if a predecessor ended between its note and the hold. */
  async #pause(tenant: string, reason: string): Promise<void> {
    const { group } = this.#options;
    const { holds, meta } = holdKeys(group, tenant);
    this.#parked.park(tenant, { code: 'TENANT_PAUSED', message: `Repeat offender: ${reason}` });
    const there = await this.#link.retryUntilDone(() => this.#link.call('HEXISTS', holds, REPEAT_OFFENDER));
    if (there === 1) return;
    const hold = {
      ...{ name: REPEAT_OFFENDER, who: 'broker', reason },
      ...{ exclusive: false, pauseIfLost: false, phase: 'preparing' },
    };
    const args = [holds, meta, REPEAT_OFFENDER, LASTING_HOLD_MS, JSON.stringify(hold)];
    await this.#link.retryUntilDone(() => this.#link.run(addHold, args));
    await appendAudit(this.#link.redis, group, this.#log, {
      ...{ action: 'tenant.pause', tenant, outcome: 'ok', subject: 'broker' },
      ...{ token: '', requestId: '', address: '', detail: `${REPEAT_OFFENDER}: ${reason}` },
    });
  }

  #reasonOf(tenant: string, offences: number, ofAll = false): string {
    const minutes = Math.max(1, Math.round(this.#options.offenceWindowMs / 60_000));
    return (
      `the broker was replaced ${offences} times within ${minutes} min because of ${ofAll ? 'writes of several tenants, its own among them' : 'its writes'}; its queue stays. Find them in its ` +
      `dead letters, have their sender stop, then resume it: onewriter tenants resume ${tenant}`
    );
  }

  /** Offences that throttle; undefined where the last is too long ago. */
  #timesOf(record: BackOffRecord | undefined, now: number): number | undefined {
    if (record === undefined) return undefined;
    const sinceMs = Math.max(0, now - record.at);
    return sinceMs > this.#pauseMs(record.times) + FORGET_AFTER_MS ? undefined : record.times;
  }

  #pauseMs(times: number): number {
    const { statementTimeoutMs } = this.#options;
    return times < 2 ? 0 : Math.min(statementTimeoutMs * 2 ** Math.min(times - 2, 20), MAX_PAUSE_MS);
  }
}
