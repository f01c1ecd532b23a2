import { isFenced, timeOfJobId, toWireError } from '@onewriter/protocol';
import { type Grant, maxCostOfJobs } from '../../lanes/job-memory.ts';
import { isTemporary, type RedisLink } from '../../queue/redis-link.ts';
import { type FetchBounds, type Fetched, type FetchedJob, QueueForgotten } from '../../queue/tenant-queue.ts';
import type { Completion } from './completion.ts';
import { FetchMemory } from './fetch-memory.ts';
import { countThatFits, FetchSize } from './fetch-size.ts';
import { type HeldJob, type NewJob, toActiveJobs, toFetchedJobs } from './held-job.ts';
import type { Room } from './held-jobs.ts';
import { OneCommand } from './one-command.ts';
import type { OpenTransaction } from './open-transaction.ts';
import type { SessionParts } from './session-parts.ts';

/*
 * Brings a tenant's jobs from Redis, by one command at a time:
 *
 *            ┌──▶ fetching ─────┐   the oldest waiting jobs, or those that continue the open transaction
 *            ├──▶ listening ────┤   the same, behind the wait for the next notification
 *   idle ────┼──▶ reclaiming ───┼──▶ idle     the list of active jobs, and what waits
 *            ├──▶ loading ──────┤   data of jobs that are held without it
 *            └──▶ requeuing ────┘   jobs that were fetched ahead
 *
 * Jobs that are fetched or read use memory that all tenants share (job-memory.ts). Without a grant nothing is asked of Redis.
 *
 * A notification that arrives during a fetch may announce a job that the fetch did not see. So `mayHaveMore` is cleared before
 * the fetch is sent, and set by each notification and by each answer that reports more.
 *
 * After a connection error the result of a fetch is unknown: `isStale` is set, and the list of active jobs is read before more is
 * fetched. It also begins so: a leader that died, or is just being overtaken, may have left jobs there that are older than all
 * that wait.
 */

/** What the session does for it. */
export interface IntakeOptions {
  readonly completion: Completion;
  readonly transaction: OpenTransaction;
  /** Whether steps that may leave a transaction open are in the thread: jobs fetched now would have to be requeued. */
  readonly isAlone: () => boolean;
  /** See Turns: when it may begin to overtake others. */
  readonly overtakesAt: () => number | undefined;
  /** Called when jobs were added. */
  readonly onAdded: (fetchedAt: number) => void;
  /** The tenant is held: the session drains. */
  readonly giveWay: () => void;
}

const NO_JOBS: readonly HeldJob[] = Object.freeze([]);

/** Whether the call that threw this finished its jobs: the fence stops only the fetch. */
function isFinishedAllTheSame(error: unknown): boolean {
  return isFenced(error) || error instanceof QueueForgotten;
}

/** Fetches a tenant's jobs when there is room and memory for them. */
export class Intake {
  readonly #parts: SessionParts;
  readonly #options: IntakeOptions;
  readonly #command: OneCommand;
  readonly #memory: FetchMemory;
  readonly #size = new FetchSize();
  #reclaimed: number | undefined;
  /** A fetch was made since the batch in the thread began. */
  #prefetched = false;

  constructor(parts: SessionParts, options: IntakeOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#command = new OneCommand(parts.tenant, parts.proceed);
    this.#memory = new FetchMemory({
      memory: parts.services.memory,
      overtakesAt: options.overtakesAt,
      onGranted: parts.pump,
    });
  }

  get isBusy(): boolean {
    return this.#command.isBusy;
  }

  /** Commands begun: a higher number says that the one before is over. */
  get begun(): number {
    return this.#command.begun;
  }

  /** Jobs that were active when this session first looked: a dead leader's. */
  get reclaimed(): number {
    return this.#reclaimed ?? 0;
  }

  /** Whether a fetch will finish acknowledged jobs, too, or has to come first. One that waits for a notification may wait long. */
  get finishesAnswered(): boolean {
    return (this.isBusy && !this.#command.isListening) || this.#parts.facts.isStale;
  }

  /** A batch begins or has left the thread: one fetch may follow. */
  allowPrefetch(): void {
    this.#prefetched = false;
  }

  /** A transaction was left open: nothing is known of the jobs that continue it. */
  onTransactionBegun(): void {
    this.#size.noteFollowUpsTooLarge(undefined);
  }

  /** Begins the next command, if one is needed and possible. */
  pump(): void {
    const { facts, services } = this.#parts;
    const { completion, transaction, isAlone } = this.#options;
    if (this.isBusy) return;
    if (facts.isStale) {
      if (!completion.isUnderWay) this.reclaim().catch(services.onBug);
      return;
    }
    const toLoad = this.nextToLoad;
    if (toLoad.length > 0) this.#load(toLoad);
    else if (transaction.isOpen) this.#pumpInTransaction();
    else if (facts.mayHaveMore && this.#hasRoom && !this.#prefetched && !isAlone()) this.#fetch();
  }

  /** Held jobs without their data that are near their turn. Nothing is tried before a pause is over. */
  get nextToLoad(): readonly HeldJob[] {
    const { held, refusals } = this.#parts;
    return refusals.isPausing ? NO_JOBS : held.nextToLoad;
  }

  /** Waits for memory no more. */
  drain(): void {
    this.#memory.cancel();
  }

  /** See TenantSession.fetchAtNotification. @param link the connection that waits at the doorbell */
  fetchAtNotification(link: RedisLink): Promise<void> | undefined {
    const { facts, services, queue } = this.#parts;
    const { transaction, isAlone } = this.#options;
    if (facts.isStale || this.isBusy || facts.mayHaveMore || this.#prefetched) return undefined;
    if (!this.#hasRoom || this.nextToLoad.length > 0 || isAlone() || transaction.isOpen) return undefined;
    const grant = this.#memory.requestNow(this.#size.wish(this.#room));
    if (grant === undefined) return undefined;
    return this.#fetchBy('listening', grant, bounds => queue.fetch(bounds, link)).catch(services.onBug);
  }

  /**
   * Reads the active jobs, adds those not known here (newer than all known ones), and fetches more.
   * @returns how many were not known @throws Error of Redis
   */
  reclaim(): Promise<number> {
    return this.#command.run('reclaiming', () => this.#reclaimNow());
  }

  async #reclaimNow(): Promise<number> {
    const { services, queue, held, facts } = this.#parts;
    const { completion, giveWay } = this.#options;
    facts.mayHaveMore = false;
    let grant: Grant | undefined;
    try {
      if (completion.unfinished.length > 0) await completion.finishUnfinished();
      // Before the query: a job now in the thread may be committed, and still active, when the answer arrives.
      const known = new Set([...held.all, ...completion.unfinished].map(job => job.id));
      for (const id of completion.waiting) known.add(id);
      grant = this.#hasRoom ? this.#memory.requestNow(this.#size.wish(this.#room)) : undefined;
      const bounds = grant && { ...this.#size.bounds(this.#room, grant.bytes), ifIdle: true };
      // In one round trip. If the answer to a fetch is lost, its jobs are among the active ones of the next attempt.
      const [active, fetched] = await this.#leading(async () => {
        const reclaiming = queue.reclaim();
        const fetching = bounds && queue.fetch(bounds);
        // What is not reclaimed, because it is held, cannot be fetched: the answer to the reclaim counts.
        fetching?.catch(() => {});
        const reclaimed = await reclaiming;
        return [reclaimed, reclaimed.held ? undefined : await fetching] as const;
      });
      if (active.held) {
        giveWay();
        return 0;
      }
      const jobs = active.jobs.filter(job => !known.has(job.id));
      const crashCounts = await services.poisoned.crashCountsOf(jobs.map(job => job.id));
      facts.isStale = false;
      this.#reclaimed ??= jobs.length;
      facts.doubtUntil = Math.max(facts.doubtUntil, active.doubtUntil);
      // Their data is read when their turn is near.
      this.#add(toActiveJobs(jobs, crashCounts));
      if (grant === undefined || fetched === undefined) facts.mayHaveMore = true;
      else {
        this.#receive(fetched, grant);
        grant = undefined;
      }
      return jobs.length;
    } finally {
      grant?.release();
    }
  }

  get #room(): Room {
    return this.#parts.held.room(this.#parts.refusals.isParked);
  }

  get #hasRoom(): boolean {
    const { maxJobs, maxBytes } = this.#room;
    return maxJobs > 0 && maxBytes > 0;
  }

  #fetch(): void {
    const { queue, services } = this.#parts;
    const { completion } = this.#options;
    const grant = this.#memory.request(this.#size.wish(this.#room));
    if (grant === undefined) return;
    const finished = completion.takeUnfinished();
    this.#fetchBy('fetching', grant, async bounds => {
      if (finished.length === 0) return queue.fetch(bounds);
      try {
        return (await queue.finish(finished, bounds)).fetched;
      } catch (error) {
        if (!isFinishedAllTheSame(error)) completion.putBackUnfinished(finished);
        throw error;
      }
    }).catch(services.onBug);
  }

  #fetchBy(
    state: 'fetching' | 'listening',
    grant: Grant,
    fetchNow: (bounds: FetchBounds) => Promise<Fetched>,
  ): Promise<void> {
    const { facts, held } = this.#parts;
    return this.#command.run(state, async () => {
      facts.mayHaveMore = false;
      this.#prefetched = held.inThread.length > 0;
      try {
        this.#receive(await fetchNow(this.#size.bounds(this.#room, grant.bytes)), grant);
      } catch (error) {
        grant.release();
        await this.#onFetchFailed(error);
      }
    });
  }

  #receive({ jobs, waiting, held, tooLarge }: Fetched, grant: Grant): void {
    const { facts } = this.#parts;
    if (held) {
      grant.release();
      this.#options.giveWay();
      return;
    }
    facts.waiting = waiting;
    this.#size.noteTooLarge(tooLarge);
    if (waiting > 0 || tooLarge !== undefined) facts.mayHaveMore = true;
    // The fetch that was to run while the thread works returned nothing.
    if (tooLarge !== undefined) this.#prefetched = false;
    this.#hold(jobs, grant);
  }

  async #onFetchFailed(error: unknown): Promise<void> {
    const { tenant, services, facts } = this.#parts;
    facts.isStale = true;
    if (isFenced(error)) await services.onFenced(tenant, toWireError(error));
    else if (!isTemporary(error)) throw error;
  }

  /** Repeats a repeatable call while this process leads. */
  async #leading<Result>(attempt: () => Promise<Result>): Promise<Result> {
    const { tenant, services } = this.#parts;
    for (;;) {
      try {
        return await services.link.retryUntilDone(attempt);
      } catch (error) {
        if (!isFenced(error)) throw error;
        await services.onFenced(tenant, toWireError(error));
      }
    }
  }

  /** Reads data of jobs that are held, as much as there is memory for. */
  #load(jobs: readonly HeldJob[]): void {
    const { held, services } = this.#parts;
    const allBytes = jobs.reduce((sum, { bytes }) => sum + bytes, 0);
    const grant = this.#memory.request([
      maxCostOfJobs(1, jobs[0]!.bytes),
      maxCostOfJobs(jobs.length, allBytes),
    ]);
    if (grant === undefined) {
      // A newer job cannot begin before the oldest, and must not keep memory from it.
      if (held.inTransaction || jobs[0] === held.ready[0]) held.unload();
      return;
    }
    const ids = jobs.slice(0, countThatFits(jobs, grant.bytes)).map(({ id }) => id);
    this.#command.run('loading', () => this.#read(ids, grant)).catch(services.onBug);
  }

  async #read(ids: readonly string[], grant: Grant): Promise<void> {
    const { services, queue, held } = this.#parts;
    const read = await services.link.retryUntilDone(() => queue.read(ids));
    held.fill(ids, read, grant, bytes => services.metrics.fetched(bytes));
  }

  /** While a transaction is open. */
  #pumpInTransaction(): void {
    const { held, facts, services } = this.#parts;
    if (held.returnable.length > 0) {
      this.#command.run('requeuing', () => this.#requeueReady()).catch(services.onBug);
      return;
    }
    held.unload();
    if (!facts.mayHaveMore) return;
    const grant = this.#memory.request(this.#size.wishForFollowUps());
    if (grant === undefined) return;
    this.#command.run('fetching', () => this.#fetchFollowUps(grant)).catch(services.onBug);
  }

  async #fetchFollowUps(grant: Grant): Promise<void> {
    const { queue, facts, held } = this.#parts;
    const { transaction, giveWay } = this.#options;
    facts.mayHaveMore = false;
    try {
      const fetched = await queue.fetchFollowUps(this.#size.boundOfFollowUps(grant.bytes));
      this.#size.noteFollowUpsTooLarge(fetched.tooLarge);
      if (fetched.held) {
        grant.release();
        giveWay();
        return;
      }
      const { jobs, waiting, tooLarge } = fetched;
      facts.waiting = waiting;
      if (tooLarge !== undefined) facts.mayHaveMore = true;
      this.#hold(jobs, grant);
      transaction.noteOthers(waiting > 0 || held.ready.length > 0);
    } catch (error) {
      grant.release();
      await this.#onFetchFailed(error);
    }
  }

  /** Requeues the jobs fetched ahead: there their sender may withdraw them, and others see that they wait. */
  async #requeueReady(): Promise<void> {
    const { queue, held, facts } = this.#parts;
    const ids = held.returnable.map(({ id }) => id);
    held.remove(new Set(ids));
    try {
      await this.#leading(() => queue.requeue(ids, 0));
    } finally {
      facts.mayHaveMore = true;
    }
  }

  /** @param grant shared by the jobs that were fetched with it */
  #hold(jobs: readonly FetchedJob[], grant: Grant): void {
    const fetched = toFetchedJobs(jobs, grant, this.#parts.facts.doubtUntil);
    grant.shrinkTo(fetched.cost);
    if (jobs.length === 0) return;
    this.#size.noteFetched(fetched.bytes);
    this.#parts.services.metrics.fetched(fetched.bytes);
    this.#add(fetched.jobs);
  }

  #add(jobs: readonly NewJob[]): void {
    if (jobs.length === 0) return;
    const { services, held } = this.#parts;
    const fetchedAt = performance.now();
    const now = Date.now();
    held.add(
      jobs.map(job => {
        const enqueuedAt = timeOfJobId(job.id);
        if (enqueuedAt !== undefined) services.metrics.observe('queue', now - enqueuedAt);
        return { ...job, enqueuedAt, fetchedAt };
      }),
    );
    this.#options.onAdded(fetchedAt);
  }
}
