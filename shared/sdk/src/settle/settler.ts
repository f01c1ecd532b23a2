import {
  assertVersion,
  fromWireError,
  isDurableJobId,
  isStepsJobId,
  type SettledEvent,
  type WireOperationResult,
} from '@onewriter/protocol';
import { now, pause, untilDue } from '../waits.ts';
import type { OutboundJob } from '../write/outbound-job.ts';
import { MAX_LAST_FLUSH_MS, type SettlerContext, TrackedJob } from './deadline.ts';
import type { JobState } from './job-states.ts';
import { LookTime, MAX_CLOSING_LOOKS_MS, MAX_LOOKS_MS } from './look-time.ts';

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
 * The state is read before the ledger. The broker completes a job only after the commit, so a job that was finished
 * when asked and is not in the ledger afterwards was not committed before; the other way round, the commit could
 * fall between the two looks and a committed job would seem lost. Lost is still not "failed": a broker that holds
 * the job in memory may commit it yet, hence OUTCOME_UNKNOWN.
 *
 * The ledger does not know the replica. Where that is waited for, the ledger is asked only when the broker has finished the job, and
 * the job says when the replica had it.
 */

/** Jobs that are asked about in one round trip; one round is under way at a time. */
const MAX_CHECKS_PER_ROUND = 64;
/** Ledgers of a round that are read at the same time. */
const PARALLEL_LOOKS = 8;
/** Pause after a round, for each of its looks: an overloaded process has thousands of late jobs all the time. */
const PAUSE_PER_LOOK_MS = 0.5;

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
    if (event.replicatedAt !== undefined) tracked.replicatedAt = Number(event.replicatedAt);
    // Of a broker that knows no replicas; or the job was refused, perhaps after some of it was committed.
    else if (isDurableJobId(job.id) || (event.error && job.waitsForReplica)) tracked.replicatedAt = 0;
    else job.waitsForReplica = false;
    if (event.error) {
      const error = fromWireError(JSON.parse(event.error));
      job.accept(now());
      if (job.isRead) {
        for (const write of job.writes) write.refuse(error);
        return;
      }
      // The first writes of a job that took several commits may be committed.
      tracked.lookInLedger(() => {
        for (const write of job.writes) write.refuse(error);
      });
      return;
    }
    if (event.results) {
      const results = JSON.parse(event.results) as readonly WireOperationResult[];
      job.finish(results, Number(event.commitSeq), now(), tracked.replicatedAt);
    }
    if (job.open === 0) return;
    tracked.isAnswered = true;
    // Too large for an event: the ledger has them, or Redis has those of reads.
    if (!job.isRead) this.#check(tracked);
    else void this.#askForAnswer(job, Number(event.commitSeq)).then(() => this.#checkLater(tracked));
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
    if (tracked.waitsForReplica) {
      // It is finished only when the replica has it, or was waited for in vain.
      if (state !== 'finished' && state !== 'gone') return;
      const replicatedAt = await this.#context.states.replicatedAt?.(job);
      if (replicatedAt === undefined) return;
      // Null: of a broker that knows no replicas; or its tenant does not wait for it any more.
      tracked.replicatedAt = replicatedAt ?? (isDurableJobId(job.id) ? 0 : undefined);
      job.waitsForReplica = false;
    }
    // Only now, after the state: see above.
    const answer = await tracked.askLedger(state);
    if (answer?.kind !== 'found' && (job.isRead || isStepsJobId(job.id))) await this.#askForAnswer(job);
    const lost = answer?.kind === 'absent' && (state === 'gone' || state === 'finished');
    if (!lost || job.acceptedAt === undefined) tracked.missing = 0;
    else if (++tracked.missing >= 2 || job.isRead) {
      const message = 'The queue has lost the write, or its outcome; neither queue nor ledger know it.';
      for (const write of job.writes) write.giveUp(message, 'lost');
    }
  }

  /** No ledger has the results of steps whose transaction is open, nor those of reads. */
  async #askForAnswer(job: OutboundJob, commitSeq = 0): Promise<void> {
    const json = await this.#context.states.answer(job);
    if (json !== undefined) job.finish(JSON.parse(json) as readonly WireOperationResult[], commitSeq, now());
  }
}
