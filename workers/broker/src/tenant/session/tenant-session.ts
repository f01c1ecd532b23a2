import type { StatusTransaction } from '@onewriter/protocol';
import type { ApplyOutcome, ApplyTask } from '@onewriter/writer';
import type { Lane, LaneClient } from '../../lanes/lane.ts';
import { OVERTAKE_PAUSE_MS } from '../../lanes/turns.ts';
import { type LoadSource, TenantLoad } from '../../observe/status/tenant-load.ts';
import type { RedisLink } from '../../queue/redis-link.ts';
import type { TenantQueue } from '../../queue/tenant-queue.ts';
import { Admission } from './admission.ts';
import { Refusals } from './batch-retry.ts';
import { Completion } from './completion.ts';
import { doubtUntil, isLoaded } from './held-job.ts';
import { HeldJobs } from './held-jobs.ts';
import { Intake } from './intake.ts';
import { LaneTurn } from './lane-turn.ts';
import { OpenTransaction } from './open-transaction.ts';
import { Outcomes } from './outcomes.ts';
import { ReadDelay } from './read-delay.ts';
import type { QueueFacts, SessionParts, SessionServices } from './session-parts.ts';

/*
 * A tenant with work, and the files of its parts:
 *
 *                    notification               its turn                outcome
 *   asleep ────────────▶ fetching ──jobs──▶ ready ───────▶ in the thread ──────▶ finishing ──▶ asleep
 *                          ▲                ▲                   │                    │
 *                          │                └── the next batch ◀┘ while it runs      │
 *                          └────────────────── with the finish: the next jobs ◀──────┘
 *
 *   intake.ts      fetches jobs                          outcomes.ts          a task has left the thread
 *   held-jobs.ts   the jobs that are here                completion.ts        answers callers, finishes jobs
 *   admission.ts   whether the oldest may begin          batch-retry.ts       the file refuses writes
 *   read-delay.ts  reads wait for their share
 *   lane-turn.ts   its turn: chooses and begins a task   open-transaction.ts  steps left a transaction open
 *
 * Order (G3): jobs are fetched oldest first, by one fetch at a time, and stand in `ready` in that order. One batch is in the
 * thread at a time. These invariants ensure that a job begins only if it is the oldest that is held:
 *
 *   1. Each job that is held stands in exactly one list of held-jobs.ts. A batch that leaves the thread and is not applied is back
 *      at the front before anything is awaited.
 *   2. `ready` is in the order of the fetches (`place`), apart from steps of a transaction that is over.
 *   3. While the fate of a job is being decided (`#undecided`), nothing of the tenant begins.
 *
 * 1 and 2 are asserted before each batch. The tenant sleeps only when no notification and no answer says that more may wait.
 *
 * A job of steps runs alone, and may leave a transaction open on the tenant's connection. Then the session fetches and begins only
 * jobs that continue that transaction, until the transaction ends or is taken away. Jobs that were fetched ahead are requeued, so
 * that their sender can withdraw them.
 */

/** Shared by all sessions. */
export interface SessionContext extends SessionServices {
  /** A session acknowledged jobs that are not finished in Redis: call {@link TenantSession.finishAnswered} soon. */
  readonly finishSoon: (session: TenantSession) => void;
}

/** One tenant's jobs on their way through this process. */
export class TenantSession implements LaneClient, LoadSource {
  readonly tenant: string;
  lane: Lane | undefined;
  /** On the monotonic clock, ms. */
  lastUsedAt = performance.now();
  readonly #queue: TenantQueue;
  readonly #services: SessionServices;
  readonly #held = new HeldJobs();
  readonly #facts: QueueFacts = { isStale: true, mayHaveMore: false, doubtUntil: 0, waiting: 0 };
  readonly #refusals: Refusals;
  readonly #intake: Intake;
  readonly #admission: Admission;
  readonly #completion: Completion;
  readonly #transaction: OpenTransaction;
  readonly #turn: LaneTurn;
  readonly #readDelay: ReadDelay;
  readonly #outcomes: Outcomes;
  readonly #figures = new TenantLoad(this);
  /** Decisions that are awaited: see 3 above. */
  #undecided = 0;
  #draining = false;
  #restWaiters: (() => void)[] = [];

  constructor(tenant: string, queue: TenantQueue, context: SessionContext) {
    this.tenant = tenant;
    this.#queue = queue;
    this.#services = context;
    const isDraining = () => this.#draining;
    this.#refusals = new Refusals(isDraining, () => this.#pump());
    const parts: SessionParts = {
      ...{ tenant, services: context, queue, held: this.#held, facts: this.#facts, refusals: this.#refusals },
      isDraining,
      pump: () => this.#pump(),
      proceed: () => this.#proceed(),
      decide: decision => this.#decide(decision),
    };
    this.#completion = new Completion(parts, {
      mustWaitForFetch: () => this.#intake.finishesAnswered,
      finishSoon: () => context.finishSoon(this),
    });
    this.#transaction = new OpenTransaction(parts, {
      rollback: id => this.lane?.rollback(tenant, id),
      onBegun: () => this.#intake.onTransactionBegun(),
    });
    this.#turn = new LaneTurn(parts, this.#transaction);
    this.#readDelay = new ReadDelay(parts);
    this.#intake = new Intake(parts, {
      completion: this.#completion,
      transaction: this.#transaction,
      isAlone: () => this.#turn.stage === 'steps',
      overtakesAt: () => this.overtakesAt,
      onAdded: fetchedAt => this.#onAdded(fetchedAt),
      giveWay: () => this.#giveWay(),
    });
    this.#admission = new Admission(parts, (jobs, error) => this.#completion.fail(jobs, error));
    this.#outcomes = new Outcomes(parts, {
      completion: this.#completion,
      transaction: this.#transaction,
      figures: this.#figures,
      enqueue: () => this.#enqueue(),
    });
  }

  /** Whether nothing of it is here or on its way: it can be forgotten. */
  get asleep(): boolean {
    return (
      this.#held.size === 0 &&
      !this.#completion.isUnderWay &&
      this.#completion.unfinished.length === 0 &&
      this.#completion.waiting.size === 0 &&
      !this.#transaction.isOpen &&
      !this.#refusals.isPausing &&
      this.#turn.stage === 'resting' &&
      !this.#intake.isBusy &&
      !this.#facts.isStale &&
      !this.#facts.mayHaveMore
    );
  }

  /** Whether unfetched jobs may wait. */
  get mayHaveMore(): boolean {
    return this.#facts.mayHaveMore || this.#facts.isStale || this.#transaction.othersWait;
  }

  /** Jobs that this process holds. */
  get held(): number {
    return this.#held.size;
  }

  /** A fetch or an answer is under way: jobs may come or go. */
  get isInTransit(): boolean {
    return this.#intake.isBusy || this.#completion.isUnderWay;
  }

  /** Jobs that are committed and wait for the replica. */
  get waitsForReplica(): number {
    return this.#completion.waiting.size;
  }

  /** A transaction is open on its connection. */
  get pinned(): boolean {
    return this.#transaction.isOpen;
  }

  /** The open transaction, as the status shows it. */
  get openTransaction(): StatusTransaction | undefined {
    return this.#transaction.status;
  }

  get waiting(): number {
    return this.#facts.waiting;
  }

  /** See Turns: a tenant whose work fits into one turn may overtake those that have a backlog. */
  get overtakesAt(): number | undefined {
    // A transaction that is open holds its tenant up, and has a deadline.
    if (this.#transaction.isOpen) return 0;
    if (this.#facts.waiting > 0 || this.#held.hasUnloaded) return undefined;
    return this.#turn.begunAt === 0 ? 0 : this.#turn.begunAt + OVERTAKE_PAUSE_MS;
  }

  get waitsSince(): number {
    return this.#turn.queuedAt;
  }

  get addedAt(): number | undefined {
    return this.#held.newest?.addedAt;
  }

  get oldestAt(): number | undefined {
    return (this.#held.inThread[0] ?? this.#held.ready[0])?.enqueuedAt;
  }

  /** There may be jobs in the queue. */
  notify(): void {
    this.#facts.mayHaveMore = true;
    this.#pump();
  }

  /** Its file refused writes, and may have been mended: finds out, also without jobs. */
  tryFile(): void {
    this.#refusals.triesWithoutJobs = true;
    this.#pump();
  }

  /** Resolves when no fetch is under way. */
  async untilFetched(): Promise<void> {
    while (this.#intake.isBusy) await this.#untilRest();
  }

  /** Resolves when the current fetch is over; the next may be under way then. */
  async afterFetch(): Promise<void> {
    const current = this.#intake.begun;
    while (this.#intake.isBusy && this.#intake.begun === current) await this.#untilRest();
  }

  /**
   * Fetches on the next notification, from any tenant: Redis executes the fetch behind the wait for the notification, so both
   * arrive together. Until then the session fetches nothing else. The fetch covers each notification of this tenant before it;
   * if its result is lost, the session reads the list of active jobs.
   * @param link the connection that waits at the doorbell.
   * @returns undefined where nothing is to be fetched now.
   */
  fetchAtNotification(link: RedisLink): Promise<void> | undefined {
    return this.#draining ? undefined : this.#intake.fetchAtNotification(link);
  }

  /** Jobs that were active when this session first looked: a dead leader's. */
  get reclaimed(): number {
    return this.#intake.reclaimed;
  }

  /** Whether this process owns the queue and knows all active jobs in it. */
  get ownsQueue(): boolean {
    return !this.#facts.isStale;
  }

  /** Reclaims the active jobs of a dead leader. @returns how many. @throws Error of Redis */
  async reclaim(): Promise<number> {
    // It woke up meanwhile: its own jobs are active, too.
    if (this.#intake.isBusy || this.#completion.isUnderWay) {
      this.#facts.isStale = true;
      this.#pump();
      return 0;
    }
    return this.#intake.reclaim();
  }

  /**
   * Begins no more; resolves when what was begun is committed and finished. A transaction that is open is not waited for:
   * it is rolled back when the tenant is closed, because all other tenants' writes wait for the next leader.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#intake.drain();
    this.#refusals.stop();
    this.#readDelay.stop();
    this.#transaction.drain();
    const { unfinished, waiting } = this.#completion;
    while (
      this.#turn.isInThread ||
      this.#completion.isUnderWay ||
      this.#intake.isBusy ||
      unfinished.length > 0 ||
      waiting.size > 0
    ) {
      if (this.#turn.isInThread || this.#intake.isBusy || unfinished.length === 0) await this.#untilRest();
      else await this.#completion.finishUnfinished().catch(this.#services.onBug);
    }
  }

  /** Finishes in Redis the acknowledged jobs that no fetch has finished. @throws Error of Redis */
  finishAnswered(): Promise<void> {
    return this.#completion.finishAnswered();
  }

  /** Requeues jobs that were not begun. @returns how many. */
  async requeue(): Promise<number> {
    const jobs = this.#held.notBegun;
    const ids = jobs.map(({ id }) => id);
    if (jobs.length > 0) await this.#queue.requeue(ids, doubtUntil(jobs, this.#facts.doubtUntil));
    // Only now, because a call that fails is repeated.
    this.#held.remove(new Set(ids));
    return jobs.length;
  }

  /** Renews the locks of jobs held since before `time` (monotonic, ms). */
  async renewLocks(time: number): Promise<void> {
    const old = this.#held.all.filter(job => job.fetchedAt < time);
    if (old.length > 0) await this.#queue.renew(old.map(job => job.id));
  }

  nextTask(contended: boolean): ApplyTask | undefined {
    return this.#guard(() => {
      const task = this.#turn.begin(contended, !this.#draining && this.#undecided === 0);
      if (task !== undefined) this.#intake.allowPrefetch();
      const mayFetch = () => this.#facts.mayHaveMore || this.#intake.nextToLoad.length > 0;
      if (this.#turn.stage === 'batch' && mayFetch()) queueMicrotask(() => this.#pump());
      return task;
    });
  }

  onRevoked(): void {
    this.#guard(() => {
      // The revoking lane gives it another turn.
      this.#held.putBack(this.#turn.leave('queued'));
      this.#intake.allowPrefetch();
      this.#rest();
    });
  }

  onOutcome(outcome: ApplyOutcome): void {
    this.#guard(() => {
      const { queuedAt, begunAt } = this.#turn;
      const batch = this.#turn.leave('resting');
      this.#intake.allowPrefetch();
      this.lastUsedAt = performance.now();
      if (outcome.kind === 'applied') this.#outcomes.onApplied(batch, outcome, { queuedAt, begunAt });
      else this.#outcomes.onRefused(batch, outcome).catch(this.#services.onBug);
      this.#rest();
    });
  }

  onFault(error: Error, wasRunning: boolean): void {
    this.#guard(() => {
      const batch = this.#turn.leave('resting');
      this.#intake.allowPrefetch();
      this.#outcomes.onFault(batch, error, wasRunning);
      this.#rest();
    });
  }

  #onAdded(fetchedAt: number): void {
    this.lastUsedAt = fetchedAt;
    if (this.#turn.stage === 'queued') this.lane?.renew(this);
    this.#refusals.hurry();
    if (!this.#figures.listed) this.#services.loads.list(this.#figures);
  }

  /** Holds all jobs of the tenant until the fate of one of them is decided. */
  async #decide<Result>(decision: () => Promise<Result>): Promise<Result> {
    this.#undecided++;
    try {
      return await decision();
    } finally {
      this.#undecided--;
      this.#proceed();
    }
  }

  /** The tenant is held. What was begun is finished; a new session follows when the last hold has ended. */
  #giveWay(): void {
    this.#draining = true;
    this.#services.onHeld(this.tenant);
  }

  #pump(): void {
    this.#guard(() => this.#pumpNow());
  }

  /** Does all that can be done now. */
  #pumpNow(): void {
    if (this.#draining) {
      this.#rest();
      return;
    }
    const heldBackMs = this.#services.offenders.leftMs(this.tenant);
    if (heldBackMs > 0) {
      this.#held.unload();
      if (!this.#refusals.isPausing) this.#refusals.pauseFor(heldBackMs);
      return;
    }
    this.#intake.pump();
    this.#enqueue();
  }

  #enqueue(): void {
    if (this.#turn.stage !== 'resting' || this.#refusals.isPausing || this.#undecided > 0) return;
    const { next } = this.#held;
    if (next === undefined) {
      // The first reclaim says whether the tenant is held: then its file stays closed.
      if (!this.#refusals.triesWithoutJobs || this.#facts.isStale) return;
    } else {
      if (next.unknownVersion === undefined && !isLoaded(next)) return;
      if (!this.#held.inTransaction && this.#admission.mustWait(next)) return;
      if (this.#readDelay.mustWait()) return;
    }
    const { poisoned, lanes, offenders } = this.#services;
    this.#turn.queue();
    const mustRunApart =
      next !== undefined &&
      (poisoned.mustRunApart(next.crashCount) || offenders.runsApart(this.tenant, this.#held.ready));
    if (mustRunApart) lanes.enqueueApart(this);
    else lanes.enqueue(this);
  }

  #proceed(): void {
    this.#pump();
    this.#rest();
  }

  #rest(): void {
    for (const resolve of this.#restWaiters.splice(0)) resolve();
  }

  #untilRest(): Promise<void> {
    return new Promise(resolve => this.#restWaiters.push(resolve));
  }

  /** A broken assertion ends the process, also where the caller would take it for a fault of the thread. */
  #guard<Result>(work: () => Result): Result | undefined {
    try {
      return work();
    } catch (error) {
      this.#services.onBug(error);
      return undefined;
    }
  }
}
