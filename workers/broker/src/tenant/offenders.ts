import { groupKeys, hasWriteOf } from '@onewriter/protocol';
import { appendAudit, type Config, type Logger } from '@onewriter/runtime';
import { ADD_HOLD, holdKeys, LASTING_HOLD_MS, REPEAT_OFFENDER } from '@onewriter/tenants';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';
import type { Parked } from './parked.ts';
import type { ReplacementBudget } from './replacement-budget.ts';

/*
 * A write that never ends, uses too much memory or ends its process costs every tenant a change of the lead, unless it runs apart
 * (lanes/apart). A tenant that repeatedly sends such writes is throttled, then paused; all others are served as usual (ADR 0023,
 * ADR 0043, ADR 0047):
 *
 *   first offence       its jobs run apart for a minute: another costs no one else anything
 *   each later offence  apart for twice as long, at most 10 minutes; and first a pause: one statement timeout at the second, then
 *                       twice the last pause, at most 10 minutes
 *   10 minutes without  both start again with the first
 *   offenceLimit within offenceWindowMs
 *                       a hold named repeat-offender: nothing is fetched, the file is closed, the queue stays, until a person
 *                       resumes the tenant (resumeTenant), who also clears the count
 *   twice offenceLimit within offenceWindowMs, of all tenants together
 *                       a tenant is held when its own are more than its share of these, and at its second at the earliest
 *   replacements of the broker, of all tenants together
 *                       see ReplacementBudget: while it is spent, offenders run apart all the time, and newcomers
 *
 * Where several statements ran while the process grew too much, their tenants are suspects: each is judged when its job has run
 * apart, by what that took. So each replacement is an offence of those that caused it, and of no one else.
 *
 * A token of several tenants is a sender (the gateway names it in each write): an offence of one of its tenants has its writes to all
 * of them run apart, as long as its own count says. So does the mere suspicion, for a minute. No sender is paused.
 *
 * Pauses are measured from when this process read or made the note, on the monotonic clock: a wall clock that leaps makes
 * a pause end early or begin again, and never last longer than it would be. The window is by the wall clock: set forward it
 * forgets offences, set back it keeps them longer.
 */

const MAX_PAUSE_MS = 10 * 60_000;
const FORGET_AFTER_MS = 10 * 60_000;
/** A poisoned job ended its process alone twice; other tenants may be to blame for its crashes beside others. */
const POISON_OFFENCES = 2;
/** Above this many times a tenant's limit, offences of all tenants together give each a share of so many. */
const LIMIT_OF_ALL = 2;
/** No share is less: one slow statement is a mistake. */
const LEAST_SHARE = 2;
/** How long a tenant runs apart after its first offence. */
const FIRST_APART_MS = 60_000;

/** Offences of a tenant, as JSON in the group's hash: one entry per tenant, a bounded list in each. */
interface OffenceRecord {
  /** Processes that were replaced because of it, without 10 minutes in between. */
  readonly times: number;
  /** When the last one was, wall clock, ms. */
  readonly at: number;
  /** Times of the last offences, at most as many as pause the tenant. Absent in records of older brokers. */
  readonly offences?: readonly number[] | undefined;
  /** When the process was last replaced because of it or of another, where it is not known which; wall clock, ms. */
  readonly suspectedAt?: number | undefined;
  /** Why it is paused; absent where it is not. */
  readonly paused?: string | undefined;
}

/** A tenant, and who sent the write that is noted, where its job says so. */
export interface Offender {
  readonly tenant: string;
  readonly sender?: string | undefined;
}

/** Names of records of senders; no tenant's name has a colon. */
const SENDER = 'sender:';

/** Settings of {@link Offenders}. */
export type OffenderOptions = Pick<
  Config,
  'group' | 'statementTimeoutMs' | 'offenceLimit' | 'offenceWindowMs'
>;

const addHold = defineScript(2, ADD_HOLD);

/** Tenants whose writes caused a replacement of the process: how long they are held back, and which are paused. */
export class Offenders {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #options: OffenderOptions;
  readonly #parked: Parked;
  readonly #budget: ReplacementBudget;
  readonly #log: Logger;
  /** On the monotonic clock, ms. */
  readonly #until = new Map<string, number>();
  /** Until when tenants run apart, on the monotonic clock, ms. */
  readonly #apartUntil = new Map<string, number>();
  /** The same of senders. */
  readonly #sendersApartUntil = new Map<string, number>();
  readonly #suspects = new Set<string>();
  /** Changes of the notes, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(
    link: RedisLink,
    options: OffenderOptions,
    parked: Parked,
    budget: ReplacementBudget,
    log: Logger,
  ) {
    this.#link = link;
    this.#key = groupKeys(options.group).backOff;
    this.#options = options;
    this.#parked = parked;
    this.#budget = budget;
    this.#log = log;
  }

  /** Reads the notes of predecessors; the parked tenants and the budget are read before. @returns tenants that are paused */
  async load(): Promise<readonly string[]> {
    const forgotten: string[] = [];
    const paused: string[] = [];
    const { tenants, senders } = await this.#readAll();
    for (const [sender, { times, at }] of senders) {
      const sinceMs = Math.max(0, Date.now() - at);
      this.#letRunApart(this.#sendersApartUntil, sender, Math.max(1, times), sinceMs);
      if (sinceMs > this.#pauseMs(times) + FORGET_AFTER_MS) forgotten.push(SENDER + sender);
    }
    for (const [tenant, record] of tenants) {
      if (record.paused !== undefined) {
        paused.push(tenant);
        await this.#pause(tenant, record.paused);
        continue;
      }
      const now = Date.now();
      const sinceMs = Math.max(0, now - record.at);
      if (record.suspectedAt !== undefined) this.#suspects.add(tenant);
      this.#letRunApart(this.#apartUntil, tenant, record.times, sinceMs);
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

  /**
   * Whether the tenant's jobs run apart now, or those of a sender of one of them. Costs nothing where none do.
   * @param jobs those that may begin next
   */
  runsApart(tenant: string, jobs: Iterable<{ readonly data?: string | undefined }> = []): boolean {
    if (isUntil(this.#apartUntil, tenant) || this.#budget.isNewcomer(tenant)) return true;
    if (this.#sendersApartUntil.size === 0) return false;
    const senders = [...this.#sendersApartUntil.keys()].filter(each =>
      isUntil(this.#sendersApartUntil, each),
    );
    for (const { data } of jobs)
      if (data !== undefined && senders.some(sender => hasWriteOf(data, sender))) return true;
    return false;
  }

  /** Notes that a process is replaced because of a write. @returns whether its tenant is paused now */
  note({ tenant, sender }: Offender): Promise<boolean> {
    return this.#inTurn(async () => {
      if (sender !== undefined) await this.#noteSender(sender, 1);
      return this.#count(tenant, 1);
    });
  }

  /** Notes that a job of a tenant repeatedly ended its process. @returns as {@link note} */
  notePoison(tenant: string): Promise<boolean> {
    return this.#inTurn(() => this.#count(tenant, POISON_OFFENCES));
  }

  /** Notes that this process is replaced because of a write of at least one of these; the next process judges the tenants. */
  async noteSuspects(suspects: readonly Offender[]): Promise<void> {
    await this.#inTurn(async () => {
      const { tenants } = await this.#readAll();
      const at = Date.now();
      for (const { tenant, sender } of suspects) {
        const known = tenants.get(tenant) ?? { times: 0, at };
        await this.#write(tenant, { ...known, suspectedAt: at });
        if (sender !== undefined) await this.#noteSender(sender, 0);
      }
    });
  }

  async #noteSender(sender: string, offences: number): Promise<void> {
    const { senders } = await this.#readAll();
    const now = Date.now();
    const times = (this.#timesOf(senders.get(sender), now) ?? 0) + offences;
    await this.#write(SENDER + sender, { times, at: now });
    this.#letRunApart(this.#sendersApartUntil, sender, Math.max(1, times), 0);
  }

  /**
   * A job of the tenant has run apart. Does nothing where the tenant is no suspect.
   * @param isCostly the process grew considerably meanwhile: it is an offence
   * @returns as {@link note}
   */
  async judgeSuspect(tenant: string, isCostly: boolean): Promise<boolean> {
    if (!this.#suspects.delete(tenant)) return false;
    return this.#inTurn(async () => {
      if (isCostly) return this.#count(tenant, 1);
      const known = (await this.#readAll()).tenants.get(tenant);
      if (known === undefined || known.suspectedAt === undefined) return false;
      const { suspectedAt: _, ...record } = known;
      if (record.times > 0) await this.#write(tenant, record);
      else await this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#key, tenant));
      return false;
    });
  }

  async #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const result = this.#changes.then(change);
    // Who asked for it gets its error.
    this.#changes = result.catch(() => {});
    return result;
  }

  /** No hold is left on the tenant. */
  onResumed(tenant: string): void {
    if (this.#parked.codeOf(tenant) !== 'TENANT_PAUSED') return;
    this.#until.delete(tenant);
    this.#apartUntil.delete(tenant);
    this.#parked.resume(tenant);
  }

  /** @returns whether the tenant is paused now */
  async #count(tenant: string, offences: number): Promise<boolean> {
    const { offenceLimit, offenceWindowMs, statementTimeoutMs } = this.#options;
    this.#suspects.delete(tenant);
    // Not from memory: a person may have resumed the tenant since.
    const { tenants: records } = await this.#readAll();
    const known = records.get(tenant);
    const now = Date.now();
    const times = (this.#timesOf(known, now) ?? 0) + offences;
    const recentOf = (record: OffenceRecord | undefined) =>
      (record?.offences ?? []).filter(at => now - at < offenceWindowMs);
    const counted = [...recentOf(known), ...Array<number>(offences).fill(now)].slice(
      -Math.max(offenceLimit, 1),
    );
    const others = [...records]
      .filter(([each]) => each !== tenant)
      .map(([, record]) => recentOf(record).length);
    const limit = shareOf(offenceLimit, counted.length, others);
    const isPaused = offenceLimit > 0 && counted.length >= limit;
    const record: OffenceRecord = {
      ...{ times, at: now, offences: counted },
      ...(isPaused ? { paused: this.#reasonOf(tenant, counted.length, limit < offenceLimit) } : {}),
    };
    await this.#write(tenant, record);
    this.#letRunApart(this.#apartUntil, tenant, times, 0);
    if (record.paused !== undefined) {
      await this.#pause(tenant, record.paused);
      return true;
    }
    const pauseMs = this.#pauseMs(times);
    if (pauseMs === 0) return false;
    // This process may keep running.
    this.#holdBack(tenant, times, pauseMs);
    this.#parked.park(tenant, {
      code: 'STATEMENT_TIMEOUT',
      message:
        `${times} processes were replaced because of its writes: a statement ran past ` +
        `${statementTimeoutMs} ms, used too much memory, or ended its process. Its writes wait for ` +
        `${Math.ceil(pauseMs / 1_000)} s; look at its dead letters.`,
    });
    return false;
  }

  async #write(tenant: string, record: OffenceRecord): Promise<void> {
    await this.#link.retryUntilDone(() => this.#link.call('HSET', this.#key, tenant, JSON.stringify(record)));
  }

  #letRunApart(untils: Map<string, number>, name: string, times: number, sinceMs: number): void {
    if (times < 1) return;
    const apartMs = Math.min(FIRST_APART_MS * 2 ** Math.min(times - 1, 20), FORGET_AFTER_MS);
    const ownMs = this.#pauseMs(times) + apartMs - sinceMs;
    const isRecent = sinceMs < this.#options.offenceWindowMs;
    const leftMs = isRecent ? Math.max(ownMs, this.#budget.spentMs()) : ownMs;
    if (leftMs > 0) untils.set(name, performance.now() + leftMs);
  }

  /** One entry for each tenant and sender that offended and was not forgotten. */
  async #readAll(): Promise<Readonly<Record<'tenants' | 'senders', Map<string, OffenceRecord>>>> {
    const flat = (await this.#link.retryUntilDone(() => this.#link.redis.hgetall(this.#key))) as Record<
      string,
      string
    >;
    const tenants = new Map<string, OffenceRecord>();
    const senders = new Map<string, OffenceRecord>();
    for (const [name, json] of Object.entries(flat)) {
      const record = JSON.parse(json) as OffenceRecord;
      if (name.startsWith(SENDER)) senders.set(name.slice(SENDER.length), record);
      else tenants.set(name, record);
    }
    return { tenants, senders };
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

  /** @param isShare a share of what all tenants may do was its limit */
  #reasonOf(tenant: string, offences: number, isShare: boolean): string {
    const minutes = Math.max(1, Math.round(this.#options.offenceWindowMs / 60_000));
    return (
      `${offences} processes were replaced within ${minutes} min because of its writes${isShare ? ', while others had many replaced' : ''}; its queue stays. Find them in its ` +
      `dead letters, have their sender stop, then resume it: onewriter tenants resume ${tenant}`
    );
  }

  /** Offences that throttle; undefined where the last is too long ago. */
  #timesOf(record: OffenceRecord | undefined, now: number): number | undefined {
    if (record === undefined) return undefined;
    const sinceMs = Math.max(0, now - record.at);
    return sinceMs > this.#pauseMs(record.times) + FORGET_AFTER_MS ? undefined : record.times;
  }

  #pauseMs(times: number): number {
    const { statementTimeoutMs } = this.#options;
    return times < 2 ? 0 : Math.min(statementTimeoutMs * 2 ** Math.min(times - 2, 20), MAX_PAUSE_MS);
  }
}

/** Whether its time is not over; if it is, it is forgotten. */
function isUntil(untils: Map<string, number>, name: string): boolean {
  const until = untils.get(name);
  if (until === undefined) return false;
  if (until > performance.now()) return true;
  untils.delete(name);
  return false;
}

/**
 * How many offences pause a tenant: its limit, or a fair share of the bound for all where that is exceeded.
 * @param own of the tenant. @param others of each other tenant
 */
function shareOf(limit: number, own: number, others: readonly number[]): number {
  const bound = limit * LIMIT_OF_ALL;
  const ofAll = others.reduce((sum, count) => sum + count, own);
  if (ofAll <= bound) return limit;
  const offenders = 1 + others.filter(count => count > 0).length;
  return Math.min(limit, Math.max(LEAST_SHARE, Math.floor(bound / offenders)));
}
