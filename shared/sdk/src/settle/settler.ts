import {
  assertVersion,
  fromWireError,
  isStepsJobId,
  LIMITS,
  type SettledEvent,
  type WireOperationResult,
} from '@onewriter/protocol';
import { describeHolder, type TenantHolder } from '@onewriter/tenants';
import type { SdkLogger } from '../types.ts';
import { now, pause, untilDue } from '../waits.ts';
import type { OutboundJob } from '../write/outbound-job.ts';
import type { WriteTracer } from '../write/write-tracer.ts';
import type { Alarm, Due } from './alarm.ts';
import type { JobState, JobStates } from './job-states.ts';
import type { LedgerAnswer, LedgerReader } from './ledger.ts';

/*
 * Settling: every caller gets one true answer by its deadline.
 *
 *             ┌────────────── completion event ──────────────▶ settled by its results
 *             │
 *   tracked ──┼─ late: ask the job's state, then the ledger ─▶ in the ledger: settled by its results
 *             │        (1 s after sending, then less often)    queued: wait on
 *             │                                                gone or finished, and not in the ledger,
 *             │                                                twice: lost, OUTCOME_UNKNOWN
 *             │
 *             └─ a caller's deadline: last look in the ledger ▶ in the ledger, and on the disk soon: settled by its results
 *                                                              else OUTCOME_UNKNOWN with its receipt id
 *
 * A look at once reads synchronously, so such looks may use only a small share of the time: otherwise thousands of late jobs
 * would make every answer late. Once that time is used up, a check waits for its round, and a deadline is answered
 * without the last look; the check before it has looked. What is found is flushed without blocking the event loop,
 * because a disk may be slow. At a deadline the flush is waited for only briefly, so that the caller is answered in time.
 *
 * The state is read before the ledger. The broker completes a job only after the commit, so a job that was finished
 * when asked and is not in the ledger afterwards was not committed before; the other way round, the commit could
 * fall between the two looks and a committed job would seem lost. Lost is still not "failed": a broker that holds
 * the job in memory may commit it yet, hence OUTCOME_UNKNOWN.
 */

/** Times in milliseconds. */
export const SETTLE_TIMES = Object.freeze({
  /** Without an event for this long, the state and the ledger are asked. */
  firstCheckMs: 1_000,
  /** Each further check of a job waits twice as long, up to this. */
  maxCheckMs: 10_000,
  /** One check comes this long before a deadline, while there is still time to hear more than the ledger. */
  beforeDeadlineMs: 300,
});

/** Jobs that are asked about in one round trip; one round is under way at a time. */
const MAX_CHECKS_PER_ROUND = 64;
/** Ledgers of a round that are read at the same time. */
const PARALLEL_LOOKS = 8;
/** How long after the deadline a flush of what the last look found may take; with the loop's own delays that stays below 100. */
const MAX_LAST_FLUSH_MS = 50;
/** Total time of synchronous looks in a row; those at a client's close may take longer, but not so long that answers are late. */
const MAX_LOOKS_MS = 10;
const MAX_CLOSING_LOOKS_MS = 40;
/** Share of the time for synchronous looks: an overloaded process has thousands of late jobs all the time. */
const LOOKS_SHARE = 0.1;
/** Pause after a round, for each of its looks, for the same reason. */
const PAUSE_PER_LOOK_MS = 0.5;

const LATE = 'The deadline passed while the write was on its way; ask later with the receipt id.';

/** What settling needs. */
export interface SettlerContext {
  readonly states: JobStates;
  readonly ledger: LedgerReader;
  readonly alarm: Alarm;
  readonly logger: SdkLogger;
  /** Undefined where tracing is off. */
  readonly tracer?: WriteTracer | undefined;
}

/** Settles the writes of jobs that are on their way. */
export class Settler {
  readonly #context: SettlerContext;
  readonly #jobs = new Map<string, TrackedJob>();
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #toCheck = new Set<TrackedJob>();
  readonly #looks = new LookTime(MAX_LOOKS_MS);
  #checking = false;
  #versionReported = false;

  constructor(context: SettlerContext) {
    this.#context = context;
  }

  /** Jobs with callers that wait. */
  get jobs(): number {
    return this.#jobs.size;
  }

  /** Callers that wait for a write that was sent. */
  get writes(): number {
    let writes = 0;
    for (const { job } of this.#jobs.values()) writes += job.open;
    return writes;
  }

  /** Jobs that are watched. */
  get watched(): number {
    return this.#watchers.size;
  }

  /** Tracks a job from now on, until its last caller has its answer. */
  track(job: OutboundJob): void {
    const tracked = new TrackedJob(job, this.#context, this.#looks, due => this.#check(due));
    job.onDone = () => this.forget(job);
    this.#jobs.set(job.id, tracked);
    this.#context.alarm.set(tracked);
  }

  /** Stops tracking a job. */
  forget(job: OutboundJob): void {
    const tracked = this.#jobs.get(job.id);
    if (tracked === undefined) return;
    this.#jobs.delete(job.id);
    this.#toCheck.delete(tracked);
    this.#context.alarm.remove(tracked);
  }

  /** Calls `listener` when the job's event comes; returns the function that ends it. */
  watch(jobId: string, listener: () => void): () => void {
    const listeners = this.#watchers.get(jobId) ?? new Set();
    this.#watchers.set(jobId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#watchers.delete(jobId);
    };
  }

  /** Handles an event from the client's inbox. */
  onEvent(event: Partial<SettledEvent>): void {
    const { jobId } = event;
    if (jobId === undefined) return;
    this.#context.alarm.check();
    for (const listener of this.#watchers.get(jobId) ?? []) listener();
    const tracked = this.#jobs.get(jobId);
    if (tracked === undefined) return;
    try {
      assertVersion(event.v, 'completion event');
      this.#settle(tracked, event);
    } catch (error) {
      if (!this.#versionReported) {
        this.#context.logger.error(
          { err: error },
          'A completion event cannot be read; asking the ledger instead',
        );
      }
      this.#versionReported = true;
      this.#check(tracked);
    }
  }

  /** Gives every caller that still waits the answer that can be had at once; a disk is waited for shortly. */
  async settleAll(): Promise<void> {
    const looks = new LookTime(MAX_CLOSING_LOOKS_MS);
    const all = [...this.#jobs.values()];
    const flushed = Promise.all(all.map(tracked => tracked.lookAtClose(looks)));
    await untilDue(flushed, now() + MAX_LAST_FLUSH_MS);
    for (const { job } of all) {
      for (const write of job.writes) {
        write.giveUp('The client was closed while the write was on its way.', 'closed');
      }
    }
  }

  #settle(tracked: TrackedJob, event: Partial<SettledEvent>): void {
    const { job } = tracked;
    this.#context.tracer?.arrive(job, 'event');
    if (event.error) {
      const error = fromWireError(JSON.parse(event.error));
      job.accept(now());
      // The first writes of a job that took several commits may be committed.
      tracked.lookInLedger(() => {
        for (const write of job.writes) write.refuse(error);
      });
      return;
    }
    if (event.results) {
      const results = JSON.parse(event.results) as readonly WireOperationResult[];
      job.finish(results, Number(event.commitSeq), now());
    }
    // Too large for an event: the ledger has them.
    if (job.open > 0) this.#check(tracked);
  }

  #check(tracked: TrackedJob): void {
    tracked.lookInLedger(() => this.#checkLater(tracked));
  }

  /** Where the look at once has not settled all of it. */
  #checkLater(tracked: TrackedJob): void {
    if (tracked.job.open === 0) return;
    this.#toCheck.add(tracked);
    if (this.#checking) return;
    this.#checking = true;
    void this.#checkAll();
  }

  async #checkAll(): Promise<void> {
    while (this.#toCheck.size > 0) {
      const round = [...this.#toCheck].slice(0, MAX_CHECKS_PER_ROUND);
      for (const tracked of round) this.#toCheck.delete(tracked);
      try {
        await this.#checkRound(round);
      } catch (error) {
        this.#context.logger.warn(
          { err: error },
          'Asking for the outcome of writes failed; it is tried again',
        );
      }
      for (const tracked of round) {
        if (!this.#jobs.has(tracked.job.id)) continue;
        tracked.scheduleCheck();
        this.#context.alarm.set(tracked);
      }
      if (this.#toCheck.size > 0) await pause(round.length * PAUSE_PER_LOOK_MS);
    }
    this.#checking = false;
  }

  async #checkRound(round: readonly TrackedJob[]): Promise<void> {
    const { states: asked } = this.#context;
    const jobs = round.map(({ job }) => job);
    const tenants = [...new Set(jobs.map(({ tenant }) => tenant))];
    const [states, holders] = await Promise.all([asked.look(jobs, true), asked.holders?.(tenants)]);
    for (const [index, tracked] of round.entries()) {
      tracked.heldBy = states[index] === 'queued' ? (holders?.get(tracked.job.tenant) ?? []) : [];
    }
    for (let start = 0; start < round.length; start += PARALLEL_LOOKS) {
      const some = round.slice(start, start + PARALLEL_LOOKS);
      await Promise.all(some.map((tracked, index) => this.#checkLedger(tracked, states[start + index])));
    }
  }

  async #checkLedger(tracked: TrackedJob, state: JobState | undefined): Promise<void> {
    const { job } = tracked;
    if (job.open === 0) return;
    // Only now, after the state: see above.
    const answer = await tracked.askLedger();
    if (answer?.kind !== 'found' && isStepsJobId(job.id)) await this.#askForAnswer(job);
    const lost = answer?.kind === 'absent' && (state === 'gone' || state === 'finished');
    if (!lost || job.acceptedAt === undefined) tracked.missing = 0;
    else if (++tracked.missing >= 2) {
      const message = 'The queue has lost the write, or its outcome; neither queue nor ledger know it.';
      for (const write of job.writes) write.giveUp(message, 'lost');
    }
  }

  /** No ledger has the results of steps whose transaction is open. */
  async #askForAnswer(job: OutboundJob): Promise<void> {
    const json = await this.#context.states.answer(job);
    if (json !== undefined) job.finish(JSON.parse(json) as readonly WireOperationResult[], 0, now());
  }
}

/** What is left of the time for synchronous looks: it grows by a share of the time that passes. */
class LookTime {
  readonly #maxMs: number;
  #leftMs: number;
  #countedAt = now();

  constructor(maxMs: number) {
    this.#maxMs = maxMs;
    this.#leftMs = maxMs;
  }

  /** Runs `look` where there is time left. */
  spend<T>(look: () => T): T | undefined {
    const startedAt = now();
    const grownMs = (startedAt - this.#countedAt) * LOOKS_SHARE;
    this.#leftMs = Math.min(this.#leftMs + grownMs, this.#maxMs);
    this.#countedAt = startedAt;
    if (this.#leftMs <= 0) return undefined;
    try {
      return look();
    } finally {
      this.#leftMs -= now() - startedAt;
    }
  }
}

/** A job, and when to look after it. */
class TrackedJob implements Due {
  readonly job: OutboundJob;
  dueAt = 0;
  /** Checks in a row that found it neither in the queue nor in the ledger. */
  missing = 0;
  /** Who kept its tenant still at the last check. */
  heldBy: readonly TenantHolder[] = [];
  readonly #context: SettlerContext;
  readonly #looks: LookTime;
  readonly #check: (tracked: TrackedJob) => void;
  /** Called when the flush that is under way has ended; empty where there is none. */
  #afterFlush: (() => void)[] = [];
  /** The deadline has passed, and the flush of what the last look found is waited for. */
  #isLastFlush = false;
  #checks = 0;
  #nextCheckAt: number;
  #nextDeadline: number;

  constructor(
    job: OutboundJob,
    context: SettlerContext,
    looks: LookTime,
    check: (tracked: TrackedJob) => void,
  ) {
    this.job = job;
    this.#context = context;
    this.#looks = looks;
    this.#check = check;
    this.#nextDeadline = this.#earliestDeadline();
    this.#nextCheckAt = 0;
    this.scheduleCheck();
  }

  /** Sets the time of the next check. */
  scheduleCheck(): void {
    const time = now();
    const waitMs = Math.min(SETTLE_TIMES.firstCheckMs * 2 ** this.#checks, SETTLE_TIMES.maxCheckMs);
    this.#checks++;
    const regular = time + waitMs;
    const beforeDeadline = this.#nextDeadline - SETTLE_TIMES.beforeDeadlineMs;
    this.#nextCheckAt = beforeDeadline > time ? Math.min(regular, beforeDeadline) : regular;
    this.dueAt = Math.min(this.#nextDeadline, this.#nextCheckAt);
  }

  onDue(time: number): void {
    if (this.#nextDeadline <= time) {
      const wasLast = this.#isLastFlush;
      if (!wasLast) this.lookInLedger(() => this.#endLastFlush());
      this.#isLastFlush = !wasLast && this.#afterFlush.length > 0;
      if (this.#isLastFlush) this.#nextDeadline = time + MAX_LAST_FLUSH_MS;
      else this.#giveUp(time);
    }
    if (this.job.open > 0 && this.#nextCheckAt <= time) {
      this.#nextCheckAt = Number.POSITIVE_INFINITY; // set again when the check is done
      this.#check(this);
    }
    this.dueAt = Math.min(this.#nextDeadline, this.#nextCheckAt);
  }

  /**
   * Settles what the ledger knows, where it can be read at once and there is time for it; when that is done, or cannot be, calls
   * `andThen`: at once, or when what was found is on the disk.
   */
  lookInLedger(andThen: () => void): void {
    if (this.#afterFlush.length > 0) {
      this.#afterFlush.push(andThen);
      return;
    }
    const { ledger } = this.#context;
    const answer = this.#looks.spend(() => ledger.lookNow(this.job.tenant, this.job.id));
    if (answer?.flush === undefined) {
      this.#apply(answer);
      andThen();
      return;
    }
    this.#afterFlush.push(andThen);
    // Where the flush fails it is not known: as if there had been no look.
    void answer.flush.later().then(
      () => this.#endFlush(answer),
      () => this.#endFlush(undefined),
    );
  }

  /** The same before the process may end; resolves when that is done. */
  async lookAtClose(looks: LookTime): Promise<void> {
    const { ledger } = this.#context;
    try {
      const answer = looks.spend(() => ledger.lookNow(this.job.tenant, this.job.id));
      await answer?.flush?.later();
      this.#apply(answer);
    } catch {
      // The log could not be flushed: not known.
    }
  }

  #endFlush(answer: LedgerAnswer | undefined): void {
    this.#apply(answer);
    for (const then of this.#afterFlush.splice(0)) then();
  }

  /** Callers whose deadline has passed do not wait until the flush has used all its time. */
  #endLastFlush(): void {
    if (!this.#isLastFlush) return;
    this.#isLastFlush = false;
    this.#giveUp(now());
    this.dueAt = Math.min(this.#nextDeadline, this.#nextCheckAt);
    if (this.job.open > 0) this.#context.alarm.set(this);
  }

  #giveUp(time: number): void {
    for (const write of this.job.writes) {
      if (write.settled || write.dueAt > time) continue;
      if (this.heldBy.length === 0) write.giveUp(LATE);
      else {
        const holders = this.heldBy.map(describeHolder).join('; ');
        write.giveUp(`${LATE} Tenant ${this.job.tenant} is held: ${holders}.`, 'paused', {
          holders: this.heldBy,
        });
      }
    }
    this.#nextDeadline = this.#earliestDeadline();
  }

  /** The same by whatever way there is, without holding anything up; undefined where that fails. */
  async askLedger(): Promise<LedgerAnswer | undefined> {
    const open = this.job.writes.filter(write => !write.settled).map(write => write.index);
    try {
      const answer = await this.#context.ledger.look(
        this.job.tenant,
        this.job.id,
        open,
        AbortSignal.timeout(LIMITS.busyTimeoutMs),
      );
      this.#apply(answer);
      return answer;
    } catch {
      return undefined; // not known: asked again, and the deadline stands
    }
  }

  #apply(answer: LedgerAnswer | undefined): void {
    if (answer?.kind !== 'found') return;
    this.#context.tracer?.arrive(this.job, 'ledger');
    this.job.finish(answer.results, answer.commitSeq, now());
  }

  #earliestDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const write of this.job.writes) if (!write.settled) earliest = Math.min(earliest, write.dueAt);
    return earliest;
  }
}
