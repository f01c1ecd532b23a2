import type { AppliedOutcome } from '@onewriter/writer';

/*
 * How much time reads through the owner may take from writes. While anything is written, all reads together get a share of the time that
 * passes, of threads and of this one: the smaller, the more time writes take. Each tenant that reads has an equal part of it: who
 * overdraws waits, and the others do not. Where nothing was written lately there is nothing that they could hold up.
 */

/** Reads and writes together get this share of one core before reads get less, and reads never less than the second. Source: test/bench. */
const SHARE_OF_BOTH = 0.25;
const MIN_SHARE = 0.05;
/** How fast it is forgotten what writes took. */
const WRITES_OVER_MS = 250;
/** Reads of one task, and what all save up at most. */
const TASK_MS = 50;
/** Many reads go in one task, which costs less than several: it may overdraw, and the next one waits. */
const MIN_TASK_MS = 5;
/** A broker that has not written for so long is free for reads. */
const QUIET_MS = 100;
/** A tenant that has not asked for so long has no part of the share. */
const ACTIVE_MS = 1_000;
/** Its debt is forgotten. */
const FORGET_MS = 10_000;
const LOOK_EVERY_MS = 100;
/** After it a tenant that waits asks again: there may be nothing left to wait for. */
const MAX_WAIT_MS = 250;
/** What one task, one read and one character of an answer cost this thread: fetch, event, finish. Source: CPU time of its process. */
const TASK_COST_MS = 0.25;
const READ_COST_MS = 0.002;
const CHARACTER_COST_MS = 2e-6;

interface Account {
  /** What it may take; below 0: its debt. */
  leftMs: number;
  countedAt: number;
  askedAt: number;
}

/** The time that reads may take in one broker. Times on the monotonic clock, in ms. */
export class ReadShare {
  readonly #accounts = new Map<string, Account>();
  #wroteAt = Number.NEGATIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #writeMs = 0;
  #writesAt = 0;
  /** Tenants that have a part. */
  #active = 1;

  /** A task writes. */
  wrote(now: number): void {
    this.#wroteAt = now;
  }

  /** How long reads of this tenant have to wait; 0: they may begin. */
  waitMs(tenant: string, now: number): number {
    if (this.#isQuiet(now)) return 0;
    const { leftMs } = this.#ask(tenant, now);
    return leftMs > 0 ? 0 : Math.min(MAX_WAIT_MS, 1 + (-leftMs * this.#active) / this.#share(now));
  }

  /** How long the reads of a task may take from now on; 0 or less: none begins. */
  taskMs(tenant: string, now: number): number {
    if (this.#isQuiet(now)) return TASK_MS;
    const { leftMs } = this.#ask(tenant, now);
    return leftMs > 0 ? Math.max(leftMs, MIN_TASK_MS) : leftMs;
  }

  /** A task is done. */
  note(tenant: string, { stats, jobs }: Pick<AppliedOutcome, 'stats' | 'jobs'>, now: number): void {
    const { applyMs, commitMs, commits, readMs } = stats;
    if (commits > 0) {
      this.#writeMs = this.#writesBefore(now) + applyMs + commitMs - (readMs ?? 0) + TASK_COST_MS;
      this.#writesAt = now;
    }
    if (readMs === undefined || this.#isQuiet(now)) return;
    let costMs = readMs + (commits > 0 ? 0 : TASK_COST_MS);
    for (const { reads = 0, results, answer } of jobs) {
      if (reads > 0) costMs += reads * READ_COST_MS + (answer ?? results).length * CHARACTER_COST_MS;
    }
    this.#ask(tenant, now).leftMs -= costMs;
  }

  /** The share of all reads. */
  #share(now: number): number {
    return Math.max(MIN_SHARE, SHARE_OF_BOTH - this.#writesBefore(now) / WRITES_OVER_MS);
  }

  /** What writes took lately. */
  #writesBefore(now: number): number {
    return this.#writeMs * Math.exp((this.#writesAt - now) / WRITES_OVER_MS);
  }

  #isQuiet(now: number): boolean {
    return now - this.#wroteAt >= QUIET_MS;
  }

  #ask(tenant: string, now: number): Account {
    this.#look(now);
    let account = this.#accounts.get(tenant);
    if (account === undefined) {
      account = { leftMs: 0, countedAt: now - QUIET_MS, askedAt: now };
      this.#accounts.set(tenant, account);
    }
    const part = this.#share(now) / this.#active;
    const earned = (now - account.countedAt) * part;
    account.leftMs = Math.min(TASK_MS / this.#active, account.leftMs + earned);
    account.countedAt = now;
    account.askedAt = now;
    return account;
  }

  /** Counts those that read, and forgets those that do not any more. */
  #look(now: number): void {
    if (now - this.#lookedAt < LOOK_EVERY_MS) return;
    this.#lookedAt = now;
    let active = 0;
    for (const [tenant, { askedAt }] of this.#accounts) {
      if (now - askedAt >= FORGET_MS) this.#accounts.delete(tenant);
      else if (now - askedAt < ACTIVE_MS) active++;
    }
    this.#active = Math.max(1, active);
  }
}
