import {
  backOffMs,
  isFollowUpJobId,
  isOnewriterError,
  isStepsJobId,
  LIMITS,
  newTransactionId,
  OnewriterError,
  PROTOCOL_VERSION,
  parseReceiptId,
  parseWriteJob,
  readLiveClient,
  receiptId,
  type StatusTransaction,
  timeOfJobId,
  toWireError,
  unknownVersionOf,
  type WireError,
  type WriteJobMessage,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type {
  AppliedOutcome,
  ApplyOutcome,
  ApplyTask,
  DeadLetter,
  JobOutcome,
  QueuedJob,
  RefusedOutcome,
  TransactionGrant,
} from '@onewriter/writer';
import {
  bytesThatFit,
  costOfJob,
  type Grant,
  type JobMemory,
  type MemoryWaiter,
  maxCostOfJobs,
  SHARE_BYTES,
} from '../lanes/job-memory.ts';
import type { Lane, LaneClient } from '../lanes/lane.ts';
import type { Lanes } from '../lanes/lanes.ts';
import { OVERTAKE_PAUSE_MS } from '../lanes/turns.ts';
import type { WalWatch } from '../lanes/wal-watch.ts';
import type { BrokerMetrics } from '../observe/broker-metrics.ts';
import type { BatchObserver, FinishedBatch } from '../observe/finished-batch.ts';
import { factsOfWrite } from '../observe/job-log.ts';
import { type LoadSource, TenantLoad, type TenantLoads } from '../observe/status/tenant-load.ts';
import type { DeadLetters } from '../queue/dead-letters.ts';
import type { InboxEvents, Settlement } from '../queue/inbox-events.ts';
import { FOLLOW_UPS_AMONG } from '../queue/queue-scripts.ts';
import { isTemporary, type RedisLink } from '../queue/redis-link.ts';
import {
  type ActiveJob,
  type FinishedJob,
  QueueForgotten,
  type TakeBounds,
  type Taken,
  type TakenJob,
  type TenantQueue,
} from '../queue/tenant-queue.ts';
import type { Condemned } from '../recovery/condemned.ts';
import type { Failpoint } from '../recovery/failpoint.ts';
import { chooseBatch } from './batch-choice.ts';
import type { ClientPresence } from './client-presence.ts';
import type { Parked } from './parked.ts';
import type { TenantBackOff } from './tenant-back-off.ts';
import { firstExpiry, TransactionLease, type TransactionLimits } from './transaction-lease.ts';

/*
 * A tenant with work:
 *
 *                    notification               its turn                outcome
 *   asleep ────────────▶ fetching ──jobs──▶ ready ───────▶ in the thread ──────▶ finishing ──▶ asleep
 *                          ▲                ▲                   │                    │
 *                          │                └── the next batch ◀┘ while it runs      │
 *                          └────────────────── with the finish: the next jobs ◀──────┘
 *
 * Jobs that are fetched or read use memory that all tenants share (job-memory.ts). Without a grant the session asks Redis for
 * nothing. A held job may be without its data, which is then only in Redis: jobs that were active when this process began to
 * lead, and jobs of a tenant that cannot continue now, whose memory others need more. Such a job keeps its place, and its data
 * is read when its turn is near.
 *
 * Order (G3): jobs are fetched oldest first, by one fetch at a time, and stand in `#ready` in that order. One batch is in the
 * thread at a time. These invariants ensure that a job begins only if it is the oldest that is held:
 *
 *   1. Each job that is held stands in exactly one of `#ready`, `#followUps` and `#inThread`; `#unsettled` counts them. A
 *      batch that leaves the thread and is not applied is back at the front before anything is awaited.
 *   2. `#ready` is in the order of the fetches (`place`), apart from steps of a transaction that is over.
 *   3. While the fate of a job is being decided (`#undecided`), nothing of the tenant begins.
 *
 * `#assertOldest` checks 1 and 2 before each batch.
 *
 * A notification that arrives during a fetch may announce a job that the fetch did not see. So `#mayHaveMore` is cleared before
 * the fetch is sent, and set by each notification and by each answer that reports more. The tenant sleeps only when it is clear.
 *
 * A job of steps runs alone, and may leave a transaction open on the tenant's connection. Then the session holds a lease: it
 * fetches and begins only jobs that continue that transaction, until the transaction ends or is taken away
 * (transaction-lease.ts). Jobs that were fetched ahead are requeued, so that their sender can withdraw them.
 *
 *            steps left it open                        COMMIT, ROLLBACK
 *   in the thread ──────────────▶ leased ◀──▶ a step in the thread ─────────▶ as usual
 *                                   └── others wait, and its time is over: rolled back ──▶
 *
 * Such a job does not begin for a client that is gone: the session looks for it first, and the lease ends if it is not found.
 *
 * A job of a protocol version that this broker does not know stays at the front, and later jobs wait behind it, until a broker
 * leads that knows the version. Callers behind it are answered at once: their writes are not applied.
 *
 * Committed jobs are acknowledged to their callers at once, and finished in Redis with the next fetch, or a moment later if the
 * tenant is busy and no fetch follows. Until then a successor would find them active, and in the ledger.
 *
 * After a connection error the result of a fetch is unknown: `#stale` is set, and the session reads the list of active jobs
 * before it fetches more. It also begins so: a leader that died, or is just being overtaken, may have left jobs there that are
 * older than all that wait.
 */

/** Shared by all sessions. */
export interface SessionContext {
  readonly lanes: Lanes;
  readonly link: RedisLink;
  readonly inbox: InboxEvents;
  readonly presence: Pick<ClientPresence, 'isHere'>;
  readonly deadLetters: DeadLetters;
  readonly condemned: Condemned;
  readonly parked: Parked;
  readonly backOff: TenantBackOff;
  readonly metrics: BrokerMetrics;
  readonly loads: TenantLoads;
  readonly memory: JobMemory;
  readonly walWatch: WalWatch;
  /** Called last, once per finished batch. */
  readonly observers: readonly BatchObserver[];
  readonly log: Logger;
  /** The epoch to commit under. */
  readonly epoch: () => number;
  /** A file has seen a newer epoch. Resolves where this process still leads, under a higher one; else it ends. */
  readonly onFenced: (tenant: string, error: WireError) => Promise<void>;
  readonly transactionLimits: TransactionLimits;
  /** The tenant is held: this session begins nothing more, and is to be drained and forgotten. */
  readonly onHeld: (tenant: string) => void;
  /** A session acknowledged jobs that are not finished in Redis: call {@link TenantSession.finishAnswered} soon. */
  readonly finishSoon: (session: TenantSession) => void;
  /** Called for each committed batch, before its callers are answered. */
  readonly afterCommit: Failpoint;
  /** An internal error that the session cannot handle. */
  readonly onBug: (error: unknown) => void;
}

type BatchTimes = Pick<FinishedBatch, 'queuedAt' | 'begunAt' | 'committedAt'>;

/** A job that this broker has. */
interface HeldJob extends ActiveJob {
  /** Rises with each job that is held. */
  readonly place: number;
  /** By the client's clock, ms; undefined where the job's id does not contain it. */
  readonly enqueuedAt: number | undefined;
  /** On the monotonic clock, ms. */
  readonly fetchedAt: number;
  /** How often a process or thread ended while the job ran, as far as known; 0 for a job that waited in the queue. */
  readonly crashCount: number;
  /** It may be in the ledger: a dead leader had it, or its batch ended with an unknown outcome. */
  readonly doubtful: boolean;
  /** Undefined while it is in Redis only. */
  readonly data: string | undefined;
  /** The memory of `data`, and its grant; undefined if `data` is. */
  readonly memory: { readonly grant: Grant; readonly cost: number } | undefined;
  /** Set where the job is of a version that this broker does not know; undefined until its data was seen. */
  readonly unknownVersion: number | undefined;
  /** Facts that were read from `data` before it was unloaded. */
  readonly seen?: SeenFacts | undefined;
  /** When its client was last seen, where it was looked for; on the monotonic clock, ms. */
  readonly clientSeenAt?: number | undefined;
}

/** A {@link HeldJob} whose data is here. */
type LoadedJob = HeldJob & { readonly data: string };

/** The facts that failing a job needs. */
interface SeenFacts {
  readonly client: string;
  readonly hasUnawaitedWrite: boolean;
}

/** Bytes of data that the first fetch asks memory for; later ones ask for twice the bytes of the last. */
const FIRST_FETCH_BYTES = 128 * 1024;
/** Jobs of one fetch, at most. */
const MAX_FETCHED_JOBS = LIMITS.maxBatchJobs;
/** Jobs fetched ahead of the thread: one batch. */
const MAX_READY_JOBS = LIMITS.maxBatchJobs;
const MAX_READY_BYTES = 2 * 1024 * 1024;
/** A batch where other tenants wait: a slice of some 10 ms of small writes. */
const SLICE_BYTES = 256 * 1024;
/** How long finished jobs of a busy tenant wait for the next fetch, at most. */
export const FINISH_AFTER_MS = 10;
/** How often a refused batch is tried before its callers are answered. */
const TRIES_BEFORE_ANSWER = 4;
const MAX_RETRY_PAUSE_MS = 5_000;
/** While the file refuses writes, a new job causes a new try, but not more often than this. */
const MIN_RETRY_PAUSE_MS = 100;
/** A client that sent a job, or was seen, this short a time ago is not looked for. */
const CLIENT_SEEN_MS = 1_000;
/** Jobs held of a tenant whose file refuses writes: behind those that wait for the file are some that callers wait for. */
const MAX_PARKED_JOBS = LIMITS.maxQueueDepth;
const MAX_PARKED_BYTES = 16 * 1024 * 1024;

/** One tenant's jobs on their way through this process. */
export class TenantSession implements LaneClient, LoadSource, MemoryWaiter {
  readonly tenant: string;
  lane: Lane | undefined;
  /** On the monotonic clock, ms. */
  lastUsedAt = performance.now();
  readonly #queue: TenantQueue;
  readonly #context: SessionContext;
  #ready: HeldJob[] = [];
  /** Bytes of the ready jobs whose data is here. */
  #readyBytes = 0;
  /** Some of what is held may be without its data. */
  #hasUnloaded = false;
  /** Jobs held: neither applied, nor failed, nor requeued. */
  #unsettled = 0;
  #lastPlace = 0;
  /** Decisions that are awaited: see 3 above. */
  #undecided = 0;
  #inThread: readonly LoadedJob[] = [];
  /** It waits for its turn at a lane. */
  #queued = false;
  #fetching = false;
  /** Fetches begun. */
  #fetches = 0;
  /** Memory that came and is not used yet. */
  #granted: Grant | undefined;
  /** Size of the oldest waiting job, if it was too large for a fetch; else 0. */
  #tooLargeBytes = 0;
  /** The same for the jobs that continue the open transaction, together. */
  #followUpsTooLargeBytes = 0;
  /** Bytes of data in the last fetch. */
  #lastFetchedBytes = FIRST_FETCH_BYTES / 2;
  /** The current fetch waits for a notification. */
  #atNotification = false;
  #mayHaveMore = false;
  #stale = true;
  #reclaimed: number | undefined;
  /** A fetch was made since the batch in the thread began. */
  #prefetched = false;
  /** Steps that may leave a transaction open are in the thread: jobs fetched now would have to be requeued. */
  #alone = false;
  /** Batches that are committed and not acknowledged, or being finished in Redis. */
  #finishing = 0;
  /** Jobs that are committed and acknowledged, and still active in Redis. */
  readonly #unfinished: FinishedJob[] = [];
  /** Times in a row that the tenant's file refused a batch. */
  #refusals = 0;
  /** On the monotonic clock, ms. */
  #refusedAt = 0;
  /** The file cannot be opened, and callers were answered: it is tried also without jobs. */
  #closedOut = false;
  /** A task without jobs is in the thread. */
  #trying = false;
  /** Jobs that were requeued before this session may be applied, whichever they are. */
  #doubt = false;
  /** On the monotonic clock, ms. */
  #answeredAt = Number.NEGATIVE_INFINITY;
  /** The `place` up to which callers behind a job of an unknown version were answered. */
  #answeredBehindPlace = 0;
  readonly #figures = new TenantLoad(this);
  /** Jobs that wait in Redis, as last reported. */
  #waiting = 0;
  /** When it got in line for its lane, and when its turn came; on the monotonic clock, ms. */
  #queuedAt = 0;
  #begunAt = 0;
  /** The transaction that is open on the tenant's connection. */
  #lease: TransactionLease | undefined;
  /** Jobs that continue it, fetched and not begun. */
  #followUps: HeldJob[] = [];
  #retry: NodeJS.Timeout | undefined;
  #draining = false;
  #restWaiters: (() => void)[] = [];

  constructor(tenant: string, queue: TenantQueue, context: SessionContext) {
    this.tenant = tenant;
    this.#queue = queue;
    this.#context = context;
  }

  /** Whether nothing of it is here or on its way: it can be forgotten. */
  get asleep(): boolean {
    return (
      this.#ready.length === 0 &&
      this.#inThread.length === 0 &&
      this.#finishing === 0 &&
      this.#unfinished.length === 0 &&
      this.#lease === undefined &&
      this.#retry === undefined &&
      !this.#trying &&
      !this.#fetching &&
      !this.#stale &&
      !this.#mayHaveMore
    );
  }

  /** Whether unfetched jobs may wait. */
  get mayHaveMore(): boolean {
    return this.#mayHaveMore || this.#stale || this.#lease?.othersWait === true;
  }

  /** Jobs that this process holds. */
  get held(): number {
    return this.#ready.length + this.#inThread.length + this.#followUps.length;
  }

  /** A transaction is open on its connection. */
  get pinned(): boolean {
    return this.#lease !== undefined;
  }

  /** The open transaction, as the status shows it. */
  get openTransaction(): StatusTransaction | undefined {
    if (this.#lease === undefined) return undefined;
    const { id, client, openedAt, deadlineAt } = this.#lease;
    return { tenant: this.tenant, id, client, openedAt, deadlineAt };
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** See Turns: a tenant whose work fits into one turn may overtake those that have a backlog. */
  get overtakesAt(): number | undefined {
    // A transaction that is open holds its tenant up, and has a deadline.
    if (this.#lease !== undefined) return 0;
    if (this.#waiting > 0 || this.#hasUnloaded) return undefined;
    return this.#begunAt === 0 ? 0 : this.#begunAt + OVERTAKE_PAUSE_MS;
  }

  get waitsSince(): number {
    return this.#queuedAt;
  }

  get addedAt(): number | undefined {
    return (this.#lease === undefined ? this.#ready.at(-1) : this.#followUps.at(-1))?.addedAt;
  }

  get oldestAt(): number | undefined {
    return (this.#inThread[0] ?? this.#ready[0])?.enqueuedAt;
  }

  /** There may be jobs in the queue. */
  notify(): void {
    this.#mayHaveMore = true;
    this.#pump();
  }

  /** Resolves when no fetch is under way. */
  async untilFetched(): Promise<void> {
    while (this.#fetching) await new Promise<void>(resolve => this.#restWaiters.push(resolve));
  }

  /** Resolves when the current fetch is over; the next may be under way then. */
  async afterFetch(): Promise<void> {
    const current = this.#fetches;
    while (this.#fetching && this.#fetches === current) {
      await new Promise<void>(resolve => this.#restWaiters.push(resolve));
    }
  }

  /**
   * Fetches on the next notification, from any tenant: Redis executes the fetch behind the wait for the notification, so both
   * arrive together. Until then the session fetches nothing else. The fetch covers each notification of this tenant before it;
   * if its result is lost, the session reloads.
   * @param link the connection that waits at the doorbell.
   * @returns undefined where nothing is to be fetched now.
   */
  fetchAtNotification(link: RedisLink): Promise<void> | undefined {
    if (this.#draining || this.#stale || this.#fetching || this.#mayHaveMore || this.#prefetched)
      return undefined;
    if (!this.#hasRoom || this.#nextToLoad.length > 0 || this.#alone || this.#lease !== undefined)
      return undefined;
    const grant = this.#context.memory.requestNow(...this.#wishForFetch);
    if (grant === undefined) return undefined;
    this.#atNotification = true;
    return this.#fetchBy(grant, bounds => this.#queue.take(bounds, link)).catch(this.#context.onBug);
  }

  /** Jobs that were active when this session first looked: a dead leader's. */
  get reclaimed(): number {
    return this.#reclaimed ?? 0;
  }

  /** Whether this process owns the queue and knows all active jobs in it. */
  get ownsQueue(): boolean {
    return !this.#stale;
  }

  /** Reclaims the active jobs of a dead leader. @returns how many. @throws Error of Redis */
  async reclaim(): Promise<number> {
    // It woke up meanwhile: its own jobs are active, too.
    if (this.#fetching || this.#finishing > 0) {
      this.#stale = true;
      this.#pump();
      return 0;
    }
    return this.#reload();
  }

  /**
   * Begins no more; resolves when what was begun is committed and finished. A transaction that is open is not waited for:
   * it is rolled back when the tenant is closed, because all other tenants' writes wait for the next leader.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#context.memory.cancel(this);
    clearTimeout(this.#retry);
    this.#lease?.close();
    while (this.#atWork || this.#finishing > 0 || this.#fetching || this.#unfinished.length > 0) {
      if (this.#atWork || this.#fetching || this.#unfinished.length === 0) {
        await new Promise<void>(resolve => this.#restWaiters.push(resolve));
      } else await this.#finishUnfinished().catch(this.#context.onBug);
    }
  }

  /** Finishes in Redis the acknowledged jobs that no fetch has finished. @throws Error of Redis */
  async finishAnswered(): Promise<void> {
    if (this.#unfinished.length === 0) return;
    // A fetch that has to be repeated first finishes them, too. One that waits for a notification may wait long.
    if ((this.#fetching && !this.#atNotification) || this.#stale) this.#context.finishSoon(this);
    else await this.#finishUnfinished();
  }

  /** Requeues jobs that were not begun. @returns how many. */
  async giveBack(): Promise<number> {
    const jobs = [...this.#followUps, ...this.#ready];
    const doubt = this.#doubt || jobs.some(({ doubtful }) => doubtful);
    if (jobs.length > 0)
      await this.#queue.giveBack(
        jobs.map(job => job.id),
        doubt,
      );
    // Only now, because a call that fails is repeated. By id: new facts about a job replace its object.
    const given = new Set(jobs.map(job => job.id));
    const isGiven = ({ id }: HeldJob) => given.has(id);
    this.#letGo([...this.#followUps, ...this.#ready].filter(isGiven));
    this.#followUps = this.#followUps.filter(job => !isGiven(job));
    this.#setReady(this.#ready.filter(job => !isGiven(job)));
    return jobs.length;
  }

  /** Renews the locks of jobs held since before `time` (monotonic, ms). */
  async renewLocks(time: number): Promise<void> {
    const old = [...this.#inThread, ...this.#followUps, ...this.#ready].filter(job => job.fetchedAt < time);
    if (old.length > 0) await this.#queue.renew(old.map(job => job.id));
  }

  nextTask(contended: boolean): ApplyTask | undefined {
    this.#queued = false;
    if (this.#draining || this.#atWork || this.#undecided > 0) return undefined;
    if (!this.#assertOldest()) return undefined;
    if (this.#lease !== undefined) return this.#nextFollowUp(this.#lease);
    if (this.#ready.length === 0) return this.#closedOut ? this.#tryOpening() : undefined;
    const maxBytes = contended ? SLICE_BYTES : MAX_READY_BYTES;
    const loaded = this.#loadedFirst;
    const count = chooseBatch(
      loaded.map(job => ({ bytes: job.data.length, maxTogether: this.#maxTogether(job) })),
      { maxJobs: LIMITS.maxBatchJobs, maxBytes },
    );
    if (count === 0) return undefined;
    const batch = loaded.slice(0, count);
    this.#ready.splice(0, count);
    this.#readyBytes -= batch.reduce((sum, { data }) => sum + data.length, 0);
    this.#inThread = batch;
    this.#prefetched = false;
    this.#noteBegin(batch[0]!);
    if (isStepsJobId(batch[0]!.id)) {
      const grant = { id: newTransactionId(), expiresAt: firstExpiry(this.#context.transactionLimits) };
      return this.#toStepsTask(batch[0]!, grant);
    }
    if (this.#mayHaveMore || this.#nextToLoad.length > 0) queueMicrotask(() => this.#pump());
    return {
      kind: 'apply',
      tenant: this.tenant,
      epoch: this.#context.epoch(),
      jobs: batch.map(job => this.#toQueuedJob(job)),
    };
  }

  /** Jobs that may begin now, at most one batch. */
  get #loadedFirst(): readonly LoadedJob[] {
    const loaded: LoadedJob[] = [];
    for (const job of this.#ready) {
      if (job.unknownVersion !== undefined || !isLoaded(job) || loaded.length === LIMITS.maxBatchJobs) break;
      loaded.push(job);
    }
    return loaded;
  }

  /** How many jobs may share its batch. Callers of a poisoned write are answered before the next may do the same harm. */
  #maxTogether({ id, crashCount }: HeldJob): number {
    const { condemned } = this.#context;
    return isStepsJobId(id) || condemned.of(id) !== undefined ? 1 : condemned.maxTogether(crashCount);
  }

  /** Whether the next job to begin is the oldest that is held; if not, the process ends. */
  #assertOldest(): boolean {
    const ready = this.#ready;
    let wrong = this.#unsettled !== ready.length + this.#followUps.length;
    // As far as a batch may reach: each job passes here before it begins.
    for (let index = 1; index < ready.length && index <= LIMITS.maxBatchJobs; index++) {
      const [before, after] = [ready[index - 1]!, ready[index]!];
      if (before.place > after.place && !isFollowUpJobId(before.id) && !isFollowUpJobId(after.id))
        wrong = true;
    }
    if (!wrong) return true;
    const lists = `${ready.length} ready, ${this.#followUps.length} follow-ups, ${this.#unsettled} held`;
    this.#context.onBug(new Error(`Jobs of ${this.tenant} lost their order: ${lists}.`));
    return false;
  }

  /** Holds all jobs of the tenant until the fate of one of them is decided. */
  async #decide<Result>(decision: () => Promise<Result>): Promise<Result> {
    this.#undecided++;
    try {
      return await decision();
    } finally {
      this.#undecided--;
      this.#pump();
      this.#rest();
    }
  }

  /** A task without jobs: finds out whether the file can be opened again. */
  #tryOpening(): ApplyTask {
    this.#trying = true;
    this.#begunAt = performance.now();
    return { kind: 'apply', tenant: this.tenant, epoch: this.#context.epoch(), jobs: [] };
  }

  #nextFollowUp(lease: TransactionLease): ApplyTask | undefined {
    const job = this.#followUps[0];
    if (job === undefined || !isLoaded(job)) return undefined;
    this.#followUps.shift();
    this.#inThread = [job];
    this.#noteBegin(job);
    return this.#toStepsTask(job, { id: lease.id, expiresAt: lease.expiresAt });
  }

  #toStepsTask(job: LoadedJob, transaction: TransactionGrant): ApplyTask {
    this.#alone = true;
    const epoch = this.#context.epoch();
    return { kind: 'apply', tenant: this.tenant, epoch, jobs: [this.#toQueuedJob(job)], transaction };
  }

  onRevoked(): void {
    this.#putBack(this.#leaveThread());
    // The revoking lane gives it another turn.
    this.#queued = true;
    this.#rest();
  }

  onOutcome(outcome: ApplyOutcome): void {
    const batch = this.#leaveThread();
    this.lastUsedAt = performance.now();
    if (outcome.kind === 'applied') {
      this.#refusals = 0;
      this.#closedOut = false;
      this.#context.parked.release(this.tenant);
      if (batch.length === 0) {
        this.#pump();
        this.#rest();
        return;
      }
      this.#unsettled -= batch.length;
      // Requeued jobs are the oldest, so all of them are fetched by now.
      if (this.#doubt && this.#waiting === 0 && this.#ready.length === 0) this.#clearDoubt();
      this.#noteApplied(batch, outcome);
      this.#context.walWatch.observe(this.tenant, outcome.stats.walBytes);
      this.#context.afterCommit();
      const times = { queuedAt: this.#queuedAt, begunAt: this.#begunAt, committedAt: performance.now() };
      if (outcome.open !== undefined || this.#lease !== undefined) this.#noteTransaction(outcome, batch);
      // The next batch first: the thread works while callers are answered.
      this.#enqueue();
      this.#finish(batch, outcome, times).catch(this.#context.onBug);
    } else this.#onRefused(batch, outcome).catch(this.#context.onBug);
    this.#rest();
  }

  onFault(error: Error, wasRunning: boolean): void {
    const batch = this.#leaveThread();
    this.#endLease();
    this.#context.log.error(
      { err: error, tenant: this.tenant, jobs: batch.map(job => job.id) },
      'The writer thread ended in the middle of a batch; the batch will be redelivered',
    );
    this.#putBack(batch.map(job => ({ ...job, doubtful: true })));
    this.#pause();
    // Otherwise the thread could not start, or ended with another tenant's batch.
    if (wasRunning) this.#decide(() => this.#countCrash(batch)).catch(this.#context.onBug);
    this.#rest();
  }

  /** A job that ended its thread counts like one that ended the process. */
  async #countCrash(batch: readonly HeldJob[]): Promise<void> {
    const crashCounts = await this.#context.condemned.countCrash(batch.map(job => job.id));
    this.#setCrashCounts(new Map(batch.map((job, index) => [job.id, crashCounts[index] ?? job.crashCount])));
  }

  #setCrashCounts(known: ReadonlyMap<string, number>): void {
    this.#ready = this.#ready.map(job => {
      const crashCount = known.get(job.id) ?? job.crashCount;
      return crashCount === job.crashCount ? job : { ...job, crashCount };
    });
  }

  /** The batch has left the thread, and more may be fetched. */
  #leaveThread(): readonly LoadedJob[] {
    const batch = this.#inThread;
    this.#inThread = [];
    this.#trying = false;
    this.#alone = false;
    this.#prefetched = false;
    return batch;
  }

  #toQueuedJob({ id, data, addedAt }: LoadedJob): QueuedJob {
    const condemned = this.#context.condemned.of(id);
    return condemned === undefined ? { id, data, addedAt } : { id, data, addedAt, condemned };
  }

  /** Does all that can be done now. */
  #pump(): void {
    if (this.#draining) {
      this.#rest();
      return;
    }
    const heldBackMs = this.#context.backOff.leftMs(this.tenant);
    if (heldBackMs > 0) {
      this.#unload();
      if (this.#retry === undefined) this.#retryIn(heldBackMs);
      return;
    }
    if (this.#stale) {
      if (!this.#fetching && this.#finishing === 0) this.#reload().catch(this.#context.onBug);
    } else if (!this.#fetching) {
      const toLoad = this.#nextToLoad;
      if (toLoad.length > 0) this.#load(toLoad);
      else if (this.#lease !== undefined) this.#pumpLeased();
      else if (this.#mayHaveMore && this.#hasRoom && !this.#prefetched && !this.#alone) this.#fetch();
    }
    this.#enqueue();
  }

  /** Memory that this tenant waited for. */
  onMemory(grant: Grant): void {
    this.#granted = grant;
    this.#pump();
    // Its purpose is done, or cannot be done now.
    this.#granted?.release();
    this.#granted = undefined;
  }

  /** @returns undefined where there is none now: {@link onMemory} follows. */
  #requestMemory([minimum, desired]: readonly [number, number]): Grant | undefined {
    const granted = this.#granted;
    this.#granted = undefined;
    if (granted !== undefined && granted.bytes >= minimum) return granted;
    granted?.release();
    return this.#context.memory.request(this, minimum, desired);
  }

  /** The memory that a fetch needs, and the most it can use. */
  get #wishForFetch(): readonly [number, number] {
    if (this.#tooLargeBytes > 0) {
      const cost = maxCostOfJobs(1, this.#tooLargeBytes);
      return [cost, cost];
    }
    const { maxJobs, maxBytes } = this.#room;
    return [SHARE_BYTES, maxCostOfJobs(maxJobs, Math.min(maxBytes, 2 * this.#lastFetchedBytes))];
  }

  /** As much as there is room and memory for. */
  #boundsOf({ bytes }: Grant): TakeBounds {
    if (this.#tooLargeBytes > 0) return { maxJobs: 1, maxBytes: this.#tooLargeBytes };
    const { maxJobs, maxBytes } = this.#room;
    return { maxJobs, maxBytes: Math.min(maxBytes, bytesThatFit(maxJobs, bytes)) };
  }

  /** The thread has a task of it. */
  get #atWork(): boolean {
    return this.#inThread.length > 0 || this.#trying;
  }

  get #hasRoom(): boolean {
    const { maxJobs, maxBytes } = this.#room;
    return maxJobs > 0 && maxBytes > 0;
  }

  /** How much the next fetch may return. */
  get #room() {
    const parked = this.#refusals >= TRIES_BEFORE_ANSWER;
    return {
      maxJobs: Math.min((parked ? MAX_PARKED_JOBS : MAX_READY_JOBS) - this.#ready.length, MAX_FETCHED_JOBS),
      maxBytes: (parked ? MAX_PARKED_BYTES : MAX_READY_BYTES) - this.#readyBytes,
    };
  }

  #enqueue(): void {
    if (this.#queued || this.#atWork || this.#retry !== undefined || this.#undecided > 0) return;
    const next = this.#lease === undefined ? this.#ready[0] : this.#followUps[0];
    if (next === undefined && !this.#closedOut) return;
    if (next !== undefined && next.unknownVersion === undefined && !isLoaded(next)) return;
    if (next !== undefined && this.#lease === undefined && this.#mustWait(next)) return;
    this.#queued = true;
    this.#queuedAt = performance.now();
    if (next === undefined) {
      this.#context.lanes.enqueue(this);
      return;
    }
    const { condemned, lanes } = this.#context;
    if (condemned.mustRunApart(next.crashCount)) lanes.enqueueAlone(this);
    else lanes.enqueue(this);
  }

  /** Whether the oldest job must not begin, or not yet; starts what is to happen then. */
  #mustWait(next: HeldJob): boolean {
    if (next.unknownVersion !== undefined) {
      this.#waitForNewerBroker(next.unknownVersion);
      return true;
    }
    const client = this.#clientToLookFor(next);
    if (client === undefined) return false;
    this.#decide(() => this.#lookForClient(next, client)).catch(this.#context.onBug);
    return true;
  }

  /** The job can neither be applied nor refused here: this broker cannot read it, so it cannot know whether a caller waits. */
  #waitForNewerBroker(version: number): void {
    const { parked, metrics } = this.#context;
    const what = `A job of protocol version ${version} is the oldest, and this broker knows version ${PROTOCOL_VERSION}: it and the jobs behind it stay queued for a broker that knows it.`;
    if (this.#refusals < TRIES_BEFORE_ANSWER) metrics.refused('UNSUPPORTED_VERSION');
    // As for a parked tenant, more jobs are held: callers wait for some of them.
    this.#refusals = Math.max(this.#refusals, TRIES_BEFORE_ANSWER);
    parked.park(this.tenant, { code: 'UNSUPPORTED_VERSION', message: what });
    const behind = this.#ready.filter(
      job =>
        job.place > this.#answeredBehindPlace &&
        job.unknownVersion === undefined &&
        !job.doubtful &&
        !hasUnawaitedWrite(job),
    );
    this.#answeredBehindPlace = this.#lastPlace;
    this.#unload();
    if (behind.length === 0) return;
    const details = { tenant: this.tenant, reason: 'a job of an unknown protocol version is before it' };
    const error = toWireError(new OnewriterError('TENANT_UNAVAILABLE', what, details));
    this.#fail(behind, error).catch(this.#context.onBug);
  }

  /** The client to look for before the job begins, if the job may leave a transaction open; else undefined. */
  #clientToLookFor({ id, data, enqueuedAt, doubtful, clientSeenAt }: HeldJob): string | undefined {
    // One that may be committed is looked up in the ledger.
    if (!isStepsJobId(id) || isFollowUpJobId(id) || doubtful) return undefined;
    if (clientSeenAt !== undefined && performance.now() - clientSeenAt < CLIENT_SEEN_MS) return undefined;
    const ageMs = enqueuedAt === undefined ? Number.NaN : Date.now() - enqueuedAt;
    if (ageMs >= 0 && ageMs < CLIENT_SEEN_MS) return undefined;
    return data === undefined ? undefined : readLiveClient(data);
  }

  async #lookForClient(job: HeldJob, client: string): Promise<void> {
    const { presence, log } = this.#context;
    const isHere = await presence.isHere(client);
    // Otherwise it was requeued meanwhile.
    if (this.#ready[0]?.id !== job.id) return;
    if (isHere) {
      this.#ready[0] = { ...job, clientSeenAt: performance.now() };
      return;
    }
    log.info({ tenant: this.tenant, job: job.id, client }, 'Transaction not begun: its client is gone');
    const message = 'The client was gone when its transaction could begin; nothing was run.';
    const error = toWireError(new OnewriterError('TRANSACTION_BUSY', message, { tenant: this.tenant }));
    await this.#fail([job], error);
  }

  #fetch(): void {
    const grant = this.#requestMemory(this.#wishForFetch);
    if (grant === undefined) return;
    const finished = this.#unfinished.splice(0);
    this.#fetchBy(grant, async bounds => {
      if (finished.length === 0) return this.#queue.take(bounds);
      try {
        return (await this.#queue.finish(finished, bounds)).taken;
      } catch (error) {
        if (!isFinishedAllTheSame(error)) this.#unfinished.unshift(...finished);
        throw error;
      }
    }).catch(this.#context.onBug);
  }

  async #fetchBy(grant: Grant, fetchNow: (bounds: TakeBounds) => Promise<Taken>): Promise<void> {
    this.#beginFetch();
    this.#mayHaveMore = false;
    this.#prefetched = this.#inThread.length > 0;
    try {
      this.#receive(await fetchNow(this.#boundsOf(grant)), grant);
    } catch (error) {
      grant.release();
      await this.#onFetchFailed(error);
    } finally {
      this.#fetching = false;
      this.#atNotification = false;
      this.#pump();
      this.#rest();
    }
  }

  #beginFetch(): void {
    this.#fetching = true;
    this.#fetches++;
  }

  /** Held jobs without their data that are near their turn. */
  get #nextToLoad(): readonly HeldJob[] {
    // Nothing is tried before a pause is over.
    if (!this.#hasUnloaded || this.#retry !== undefined) return NO_JOBS;
    if (this.#lease !== undefined)
      return this.#followUps.filter(job => !isLoaded(job)).slice(0, MAX_FETCHED_JOBS);
    if (this.#ready[0]?.unknownVersion !== undefined) return NO_JOBS;
    const jobs: HeldJob[] = [];
    let bytes = this.#readyBytes;
    for (const job of this.#ready.slice(0, MAX_READY_JOBS)) {
      if (isLoaded(job)) continue;
      bytes += job.bytes;
      // The oldest is needed whatever it is.
      if (bytes > MAX_READY_BYTES && job !== this.#ready[0]) break;
      jobs.push(job);
    }
    return jobs;
  }

  /** Reads data of jobs that are held, as much as there is memory for. */
  #load(jobs: readonly HeldJob[]): void {
    const allBytes = jobs.reduce((sum, { bytes }) => sum + bytes, 0);
    const grant = this.#requestMemory([
      maxCostOfJobs(1, jobs[0]!.bytes),
      maxCostOfJobs(jobs.length, allBytes),
    ]);
    if (grant === undefined) {
      // A newer job cannot begin before the oldest, and must not keep memory from it.
      if (this.#lease !== undefined || jobs[0] === this.#ready[0]) this.#unload();
      return;
    }
    let count = 0;
    let bytes = 0;
    for (const job of jobs) {
      bytes += job.bytes;
      if (maxCostOfJobs(count + 1, bytes) > grant.bytes) break;
      count++;
    }
    this.#read(
      jobs.slice(0, count).map(({ id }) => id),
      grant,
    ).catch(this.#context.onBug);
  }

  async #read(ids: readonly string[], grant: Grant): Promise<void> {
    this.#beginFetch();
    try {
      this.#fill(ids, await this.#context.link.retryUntilDone(() => this.#queue.read(ids)), grant);
    } finally {
      this.#fetching = false;
      this.#pump();
      this.#rest();
    }
  }

  /** The data of held jobs arrived; jobs that Redis no longer has are gone. */
  #fill(ids: readonly string[], read: readonly TakenJob[], grant: Grant): void {
    const asked = new Set(ids);
    const found = new Map(read.map(({ id, data }) => [id, data]));
    const gone: HeldJob[] = [];
    let left = grant.bytes;
    const fill = (job: HeldJob): readonly HeldJob[] => {
      if (!asked.has(job.id) || isLoaded(job)) return [job];
      const data = found.get(job.id);
      if (data === undefined) {
        gone.push(job);
        return [];
      }
      const cost = costOfJob(data);
      // Its size changed since it was asked for: read again.
      if (cost > left) return [{ ...job, bytes: Buffer.byteLength(data) }];
      left -= cost;
      if (job.seen === undefined) this.#context.metrics.fetched(data.length);
      return [{ ...job, data, memory: { grant, cost }, unknownVersion: unknownVersionOf(data) }];
    };
    this.#followUps = this.#followUps.flatMap(fill);
    this.#setReady(this.#ready.flatMap(fill));
    this.#letGo(gone);
    grant.shrinkTo(grant.bytes - left);
    this.#hasUnloaded = [...this.#followUps, ...this.#ready].some(job => !isLoaded(job));
  }

  /** Releases the memory of held jobs that cannot begin now: others need it more. */
  #unload(): void {
    if (this.#readyBytes === 0) return;
    const unloaded = this.#ready.map((job): HeldJob => {
      if (!isLoaded(job)) return job;
      const seen = job.seen ?? (job.doubtful ? undefined : readFacts(job.data));
      return { ...job, seen, data: undefined, memory: undefined };
    });
    for (const job of this.#ready) free(job);
    this.#setReady(unloaded);
    this.#hasUnloaded = true;
  }

  /** Removes jobs from the count of held ones, and frees their memory. */
  #letGo(jobs: readonly HeldJob[]): void {
    this.#unsettled -= jobs.length;
    for (const job of jobs) free(job);
  }

  async #finishUnfinished(): Promise<void> {
    const finished = this.#unfinished.splice(0);
    this.#finishing++;
    try {
      await this.#context.link.retryUntilDone(() => this.#queue.finish(finished, undefined));
    } finally {
      this.#finishing--;
      this.#pump();
      this.#rest();
    }
  }

  /** While a transaction is open. */
  #pumpLeased(): void {
    if (this.#returnable.length > 0) {
      this.#returnReady().catch(this.#context.onBug);
      return;
    }
    this.#unload();
    if (!this.#mayHaveMore) return;
    const tooLarge = this.#followUpsTooLargeBytes;
    const usefulBytes = Math.max(tooLarge, 2 * this.#lastFetchedBytes);
    const grant = this.#requestMemory([
      tooLarge === 0 ? SHARE_BYTES : maxCostOfJobs(FOLLOW_UPS_AMONG, tooLarge),
      maxCostOfJobs(FOLLOW_UPS_AMONG, usefulBytes),
    ]);
    if (grant !== undefined) this.#fetchFollowUps(grant).catch(this.#context.onBug);
  }

  async #fetchFollowUps(grant: Grant): Promise<void> {
    this.#beginFetch();
    this.#mayHaveMore = false;
    try {
      const taken = await this.#queue.takeFollowUps(bytesThatFit(FOLLOW_UPS_AMONG, grant.bytes));
      this.#followUpsTooLargeBytes = taken.tooLarge ?? 0;
      if (taken.held) {
        grant.release();
        this.#giveWay();
        return;
      }
      const { jobs, waiting, tooLarge } = taken;
      this.#waiting = waiting;
      if (tooLarge !== undefined) this.#mayHaveMore = true;
      this.#hold(jobs, this.#doubt, grant);
      this.#lease?.noteOthers(waiting > 0 || this.#ready.length > 0);
    } catch (error) {
      grant.release();
      await this.#onFetchFailed(error);
    } finally {
      this.#fetching = false;
      this.#pump();
      this.#rest();
    }
  }

  /** Jobs fetched ahead that may be requeued: none that is older than a job that has to stay. */
  get #returnable(): readonly HeldJob[] {
    return this.#ready.slice(this.#ready.findLastIndex(job => !mayWaitInQueue(job)) + 1);
  }

  /** Requeues the jobs fetched ahead: there their sender may withdraw them, and others see that they wait. */
  async #returnReady(): Promise<void> {
    this.#beginFetch();
    const jobs = this.#returnable;
    this.#setReady(this.#ready.slice(0, this.#ready.length - jobs.length));
    this.#letGo(jobs);
    try {
      await this.#leading(() =>
        this.#queue.giveBack(
          jobs.map(job => job.id),
          false,
        ),
      );
    } finally {
      this.#fetching = false;
      this.#mayHaveMore = true;
      this.#pump();
      this.#rest();
    }
  }

  /** A transaction was open before this outcome, or is now. */
  #noteTransaction({ open, jobs }: AppliedOutcome, batch: readonly HeldJob[]): void {
    if (open === undefined) this.#endLease();
    else if (this.#lease?.id !== open) {
      this.#endLease();
      const { transactionLimits } = this.#context;
      const client = jobs[0]?.client ?? '';
      const isLive = readLiveClient(batch[0]?.data ?? '') === client;
      const lease = new TransactionLease(
        open,
        client,
        transactionLimits,
        () => this.#onLeaseExpired(),
        isLive ? () => this.#lookForHolder(lease).catch(this.#context.onBug) : undefined,
      );
      this.#lease = lease;
      this.#lease.noteOthers(this.#mayHaveMore || this.#ready.length > 0);
      this.#followUpsTooLargeBytes = 0;
      if (this.#draining) this.#lease.close();
    } else if (this.#lease.expired) this.#takeAway(this.#lease);
    else this.#lease.touch();
  }

  #onLeaseExpired(): void {
    // A step that is in the thread is finished first: its outcome comes here.
    if (this.#lease === undefined || this.#inThread.length > 0) return;
    this.#takeAway(this.#lease);
    this.#pump();
  }

  /** Others wait: ends the transaction if its client is gone. */
  async #lookForHolder(lease: TransactionLease): Promise<void> {
    if (await this.#context.presence.isHere(lease.client)) return;
    // A step that arrived meanwhile shows that the client is alive.
    if (this.#lease !== lease || this.#inThread.length > 0 || this.#followUps.length > 0) return;
    this.#context.log.info(
      { tenant: this.tenant, transaction: lease.id, client: lease.client },
      'The client of an interactive transaction is gone',
    );
    this.#takeAway(lease);
    this.#pump();
  }

  #takeAway(lease: TransactionLease): void {
    const { log, metrics } = this.#context;
    log.warn(
      { tenant: this.tenant, transaction: lease.id, client: lease.client, ageMs: Math.round(lease.ageMs) },
      lease.othersWait
        ? 'An interactive transaction was open for too long while others waited; rolling it back'
        : 'An interactive transaction was open for too long; rolling it back',
    );
    metrics.transactionTakenAway();
    // In the thread before anything that is begun from now on.
    this.lane?.rollback(this.tenant, lease.id);
    this.#endLease();
  }

  #endLease(): void {
    if (this.#lease === undefined) return;
    this.#lease.close();
    this.#lease = undefined;
    const late = this.#followUps;
    this.#followUps = [];
    this.#putBack(late);
    this.#mayHaveMore = true;
  }

  async #onFetchFailed(error: unknown): Promise<void> {
    this.#stale = true;
    if (isOnewriterError(error, 'FENCED')) await this.#context.onFenced(this.tenant, toWireError(error));
    else if (!isTemporary(error)) throw error;
  }

  /** Repeats a repeatable call while this process leads. */
  async #leading<Result>(attempt: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await this.#context.link.retryUntilDone(attempt);
      } catch (error) {
        if (!isOnewriterError(error, 'FENCED')) throw error;
        await this.#context.onFenced(this.tenant, toWireError(error));
      }
    }
  }

  /** The tenant is held. What was begun is finished; a new session follows when the last hold has ended. */
  #giveWay(): void {
    this.#draining = true;
    this.#context.onHeld(this.tenant);
  }

  #receive({ jobs, waiting, held, tooLarge }: Taken, grant: Grant): void {
    if (held) {
      grant.release();
      this.#giveWay();
      return;
    }
    this.#waiting = waiting;
    this.#tooLargeBytes = tooLarge ?? 0;
    if (waiting > 0 || tooLarge !== undefined) this.#mayHaveMore = true;
    // The fetch that was to run while the thread works returned nothing.
    if (tooLarge !== undefined) this.#prefetched = false;
    this.#hold(jobs, this.#doubt, grant);
  }

  /** @param doubtful they may be applied @param grant shared by the jobs that were fetched with it */
  #hold(jobs: readonly TakenJob[], doubtful: boolean, grant: Grant): void {
    let bytes = 0;
    let costs = 0;
    const held = jobs.map(({ id, data, addedAt }) => {
      const cost = costOfJob(data);
      bytes += data.length;
      costs += cost;
      return {
        ...{
          id,
          data,
          addedAt,
          bytes: Buffer.byteLength(data),
          doubtful,
          crashCount: 0,
          memory: { grant, cost },
        },
        unknownVersion: unknownVersionOf(data),
      };
    });
    grant.shrinkTo(costs);
    if (jobs.length === 0) return;
    this.#lastFetchedBytes = bytes;
    this.#context.metrics.fetched(bytes);
    this.#add(held);
  }

  /** Jobs that were active before: their data is read when their turn is near. */
  #holdActive(jobs: readonly ActiveJob[], crashCounts: readonly number[]): void {
    if (jobs.length === 0) return;
    this.#hasUnloaded = true;
    const unloaded = { data: undefined, memory: undefined, unknownVersion: undefined, doubtful: true };
    this.#add(jobs.map((job, index) => ({ ...job, ...unloaded, crashCount: crashCounts[index] ?? 0 })));
  }

  #add(jobs: readonly Omit<HeldJob, 'place' | 'enqueuedAt' | 'fetchedAt'>[]): void {
    const fetchedAt = performance.now();
    const now = Date.now();
    const { metrics, loads } = this.#context;
    this.lastUsedAt = fetchedAt;
    for (const added of jobs) {
      const enqueuedAt = timeOfJobId(added.id);
      if (enqueuedAt !== undefined) metrics.observe('queue', now - enqueuedAt);
      const job: HeldJob = { ...added, place: ++this.#lastPlace, enqueuedAt, fetchedAt };
      if (this.#lease !== undefined && isFollowUpJobId(job.id)) this.#followUps.push(job);
      else {
        this.#ready.push(job);
        this.#readyBytes += job.data?.length ?? 0;
      }
    }
    this.#unsettled += jobs.length;
    if (this.#queued) this.lane?.renew(this);
    if (this.#retry !== undefined) this.#hurry();
    if (!this.#figures.listed) loads.list(this.#figures);
  }

  /** Reads the active jobs, adds those not known here (newer than all known ones), and fetches more. @returns how many */
  async #reload(): Promise<number> {
    this.#beginFetch();
    this.#mayHaveMore = false;
    let grant: Grant | undefined;
    try {
      if (this.#unfinished.length > 0) await this.#finishUnfinished();
      // Before the query: a job now in the thread may be committed, and still active, when the answer arrives.
      const here = [...this.#inThread, ...this.#followUps, ...this.#ready, ...this.#unfinished];
      const known = new Set(here.map(job => job.id));
      grant = this.#hasRoom ? this.#context.memory.requestNow(...this.#wishForFetch) : undefined;
      const bounds = grant === undefined ? undefined : { ...this.#boundsOf(grant), ifIdle: true };
      // In one round trip. If the answer to a fetch is lost, its jobs are among the active ones of the next attempt.
      const [active, taken] = await this.#leading(() =>
        Promise.all([this.#queue.adopt(), bounds && this.#queue.take(bounds)]),
      );
      if (active.held) {
        this.#giveWay();
        return 0;
      }
      const jobs = active.jobs.filter(job => !known.has(job.id));
      const crashCounts = await this.#context.condemned.crashCountsOf(jobs.map(job => job.id));
      this.#stale = false;
      this.#reclaimed ??= jobs.length;
      this.#doubt ||= active.doubt;
      this.#holdActive(jobs, crashCounts);
      if (grant === undefined || taken === undefined) this.#mayHaveMore = true;
      else {
        this.#receive(taken, grant);
        grant = undefined;
      }
      return jobs.length;
    } finally {
      grant?.release();
      this.#fetching = false;
      this.#pump();
      this.#rest();
    }
  }

  /** Its turn has come. @param oldest job of the batch */
  #noteBegin({ fetchedAt }: HeldJob): void {
    const { metrics } = this.#context;
    this.#begunAt = performance.now();
    metrics.observe('prefetch', this.#queuedAt - fetchedAt);
    metrics.observe('lane', this.#begunAt - this.#queuedAt);
  }

  #noteApplied(batch: readonly HeldJob[], outcome: AppliedOutcome): void {
    const { metrics } = this.#context;
    const { openMs, applyMs, commitMs, flushMs = 0, walBytes } = outcome.stats;
    const inThreadMs = openMs + applyMs + commitMs;
    metrics.observe('handover', performance.now() - this.#begunAt - inThreadMs - flushMs);
    const { writes, failures } = metrics.applied(outcome);
    const now = Date.now();
    let longestMs = 0;
    for (const { enqueuedAt } of batch) {
      if (enqueuedAt === undefined) continue;
      const delayMs = now - enqueuedAt;
      metrics.delay.observe(delayMs);
      if (delayMs > longestMs) longestMs = delayMs;
    }
    this.#figures.add(writes, failures, inThreadMs, longestMs, walBytes);
  }

  /** After the commit: answers the clients, and has the jobs finished. */
  async #finish(batch: readonly LoadedJob[], applied: AppliedOutcome, times: BatchTimes): Promise<void> {
    const { jobs: outcomes, stats } = applied;
    const settlements = outcomes.map(outcome => ({ ...outcome, jobId: outcome.id, tenant: this.tenant }));
    const finished = outcomes.map(toFinishedJob);
    this.#finishing++;
    try {
      if (this.#canWait(batch, outcomes)) await this.#acknowledge(settlements, finished);
      else await this.#finishNow(batch, outcomes, settlements, finished);
      const finishedAt = performance.now();
      this.#context.metrics.observe('completion', finishedAt - times.committedAt);
      const { tenant } = this;
      for (const observer of this.#context.observers) {
        observer.observe({ tenant, jobs: batch, outcomes, stats, ...times, finishedAt });
      }
    } finally {
      for (const job of batch) free(job);
      this.#finishing--;
      this.#pump();
      this.#rest();
    }
  }

  /** Whether nothing but the jobs themselves has to be cleaned up. */
  #canWait(batch: readonly HeldJob[], outcomes: readonly JobOutcome[]): boolean {
    const { condemned } = this.#context;
    return (
      this.#lease === undefined &&
      !isStepsJobId(batch[0]!.id) &&
      !batch.some(job => condemned.knows(job)) &&
      outcomes.every(({ error, deadLetters }) => error === undefined && deadLetters === undefined)
    );
  }

  async #acknowledge(settlements: readonly Settlement[], finished: readonly FinishedJob[]): Promise<void> {
    const { inbox, link } = this.#context;
    this.#unfinished.push(...finished);
    const publishing = inbox.publish(settlements);
    link.expedite();
    // The next jobs, if any wait; the fetch finishes these.
    this.#pump();
    if (this.#unfinished.length > 0) {
      const sinceMs = performance.now() - this.#answeredAt;
      // A tenant that was answered just now is likely to have more.
      if (sinceMs < FINISH_AFTER_MS) this.#context.finishSoon(this);
      else this.finishAnswered().catch(this.#context.onBug);
    }
    this.#answeredAt = performance.now();
    // Events are hints; a lost one is sent again once.
    if (!(await publishing)) await link.retryUntilDone(() => inbox.publish(settlements));
  }

  async #finishNow(
    batch: readonly LoadedJob[],
    outcomes: readonly JobOutcome[],
    settlements: readonly Settlement[],
    finished: readonly FinishedJob[],
  ): Promise<void> {
    const { inbox, link, condemned, backOff, onHeld } = this.#context;
    // Counted before the job is gone; a crash in between counts it twice.
    const isPoisoned = batch.some(({ id }) => condemned.of(id)?.[-1]?.code === 'POISON_JOB');
    if (isPoisoned && (await backOff.notePoison(this.tenant))) onHeld(this.tenant);
    const letters = this.#collectDeadLetters(batch, outcomes);
    // Before the job is gone: after a crash in between it is redelivered, and its letters get the same ids.
    if (letters !== undefined) await letters;
    await link.retryUntilDone(() => {
      // Callers are answered first.
      void inbox.publish(settlements);
      link.expedite();
      return this.#queue.finish(finished, undefined);
    });
    await condemned.forget(batch);
  }

  /** Undefined, without a promise, where there are none, which is the usual case. */
  #collectDeadLetters(
    batch: readonly LoadedJob[],
    outcomes: readonly JobOutcome[],
  ): Promise<unknown> | undefined {
    const { deadLetters, condemned, link, log, metrics } = this.#context;
    const additions: Promise<unknown>[] = [];
    for (const [index, outcome] of outcomes.entries()) {
      const job = batch[index]!;
      const refused = condemned.of(job.id);
      if (outcome.deadLetters === undefined && refused === undefined) continue;
      const letters = mergeLetters(job, outcome.deadLetters ?? [], refused);
      if (letters.length === 0) continue;
      for (const { receiptId: receipt, error } of letters) {
        const facts = { tenant: this.tenant, ...factsOfWrite(job, parseReceiptId(receipt).index) };
        log.warn({ ...facts, code: error.code }, `Set aside: ${error.message}`);
      }
      metrics.setAside(letters.length);
      additions.push(link.retryUntilDone(() => deadLetters.add(this.tenant, job, letters)));
    }
    return additions.length === 0 ? undefined : Promise.all(additions);
  }

  async #onRefused(batch: readonly LoadedJob[], refusal: RefusedOutcome): Promise<void> {
    const { error, uncertain, begun } = refusal;
    // Whatever refused it, the transaction is rolled back, or its connection is closed.
    this.#endLease();
    const { log, parked, metrics } = this.#context;
    metrics.refused(error.code);
    this.#putBack(uncertain && begun ? batch.map(job => ({ ...job, doubtful: true })) : batch);
    if (error.code === 'FENCED') {
      await this.#decide(() => this.#context.onFenced(this.tenant, error));
      return;
    }
    this.#refusals++;
    this.#refusedAt = performance.now();
    const mayRecover = !FINAL.has(error.code);
    if (this.#refusals === 1) {
      log.warn(
        { tenant: this.tenant, code: error.code, uncertain },
        `The tenant refused a batch: ${error.message}`,
      );
    }
    if (mayRecover && this.#refusals < TRIES_BEFORE_ANSWER) {
      this.#pause();
      return;
    }
    // Callers of jobs that may be committed are answered only after the ledger could be asked.
    const failed = this.#refusedBy(batch, refusal);
    const kept = batch.some(({ id }) => !failed.some(job => job.id === id));
    if (mayRecover || kept || error.code === 'DATABASE_CORRUPT') {
      this.#refusals = Math.max(this.#refusals, TRIES_BEFORE_ANSWER);
      this.#closedOut = !begun;
      parked.park(this.tenant, error);
      if (kept || !begun) this.#pause();
    } else this.#closedOut = false;
    await this.#fail(failed, error);
  }

  /**
   * The held jobs that were certainly not applied and that callers wait for; the others stay until the file can be written. If
   * the file as a whole refuses, untried jobs would fail, too, so they are included.
   */
  #refusedBy(batch: readonly HeldJob[], { error, uncertain, begun }: RefusedOutcome): readonly HeldJob[] {
    const tried = new Set(batch.map(({ id }) => id));
    const concernsAll = !begun || OF_THE_FILE.has(error.code);
    const isRefused = (job: HeldJob) => {
      const certain = tried.has(job.id) && !uncertain ? true : !job.doubtful;
      // This broker cannot read a job of an unknown version, so it cannot know whether its caller waits.
      if (job.unknownVersion !== undefined) return false;
      return certain && (concernsAll || tried.has(job.id)) && !hasUnawaitedWrite(job);
    };
    return this.#ready.filter(isRefused);
  }

  /**
   * Fails jobs of which nothing is committed. They leave the queue before their callers are answered: in the other order a crash
   * in between would redeliver a job whose caller believes that it failed. Until then they keep their places: one that cannot be
   * failed, because its lock is not this broker's, is read again and begins before later ones.
   * @param jobs in `#ready`.
   */
  async #fail(jobs: readonly HeldJob[], error: WireError): Promise<void> {
    if (jobs.length === 0) {
      this.#pump();
      return;
    }
    this.#finishing++;
    try {
      const failed = await this.#decide(() => this.#failInQueue(jobs, error));
      await this.#context.inbox.publish(
        failed.map(job => ({
          jobId: job.id,
          client: clientOf(job),
          tenant: this.tenant,
          commitSeq: 0,
          results: '',
          error,
        })),
      );
      await this.#context.condemned.forget(failed);
    } finally {
      this.#finishing--;
      this.#pump();
      this.#rest();
    }
  }

  /** @returns the jobs that left the queue, and are no longer held. */
  async #failInQueue(jobs: readonly HeldJob[], error: WireError): Promise<readonly HeldJob[]> {
    const value = `${error.code}: ${error.message}`;
    const finished = jobs.map(({ id }) => ({ id, state: 'failed' as const, value }));
    const { refused } = await this.#context.link.retryUntilDone(() =>
      this.#queue.finish(finished, undefined),
    );
    if (refused.length > 0) this.#stale = true;
    const failed = new Set(jobs.map(({ id }) => id).filter(id => !refused.includes(id)));
    this.#letGo(this.#ready.filter(({ id }) => failed.has(id)));
    this.#setReady(this.#ready.filter(({ id }) => !failed.has(id)));
    return jobs.filter(({ id }) => failed.has(id));
  }

  #setReady(jobs: HeldJob[]): void {
    this.#ready = jobs;
    this.#readyBytes = jobs.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
  }

  /** The ledger can answer for every job now. */
  #clearDoubt(): void {
    this.#doubt = false;
    const mark = this.#queue.doubtMark;
    this.#context.link.retryUntilDone(() => this.#queue.forgetDoubt(mark)).catch(this.#context.onBug);
  }

  #putBack(jobs: readonly HeldJob[]): void {
    if (this.#lease !== undefined) {
      // Only steps of the transaction are begun while it is open.
      this.#followUps.unshift(...jobs);
      return;
    }
    this.#ready.unshift(...jobs);
    for (const { data } of jobs) this.#readyBytes += data?.length ?? 0;
  }

  /** Waits before the next try. */
  #pause(): void {
    if (this.#draining) return;
    if (this.#refusals >= TRIES_BEFORE_ANSWER) this.#unload();
    this.#retryIn(backOffMs(Math.max(1, this.#refusals), { firstMs: 50, maxMs: MAX_RETRY_PAUSE_MS }));
  }

  /** Shortens a pause: the caller of a new job is not to wait for its end. */
  #hurry(): void {
    if (this.#draining || this.#refusals < TRIES_BEFORE_ANSWER) return;
    this.#retryIn(Math.max(0, this.#refusedAt + MIN_RETRY_PAUSE_MS - performance.now()));
  }

  #retryIn(pauseMs: number): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#pump();
    }, pauseMs);
  }

  #rest(): void {
    for (const resolve of this.#restWaiters.splice(0)) resolve();
  }
}

/** Whether the call that threw this finished its jobs: the fence stops only the fetch. */
function isFinishedAllTheSame(error: unknown): boolean {
  return isOnewriterError(error, 'FENCED') || error instanceof QueueForgotten;
}

/** A job that was active when a process ended stays: requeued, it would lose its crash count and its doubt. */
function mayWaitInQueue({ crashCount, doubtful }: HeldJob): boolean {
  return crashCount === 0 && !doubtful;
}

/** Codes that another try cannot change. */
const FINAL: ReadonlySet<string> = new Set(['TENANT_NOT_FOUND', 'INVALID_TENANT', 'DATABASE_CORRUPT']);

/** Codes of errors of the file, whatever the write. */
const OF_THE_FILE: ReadonlySet<string> = new Set([
  ...['DATABASE_CORRUPT', 'DATABASE_READONLY', 'DATABASE_IO_ERROR', 'TENANT_UNAVAILABLE'],
]);

/**
 * The record that Redis keeps of a job. For steps that run alone it also says whether the ledger has their row (`recorded`): steps that
 * committed nothing, or left a transaction open, have none. Every other completed job has one.
 */
export function toFinishedJob(outcome: JobOutcome): FinishedJob {
  const { id, error, commitSeq, writes, failures, answer } = outcome;
  if (error !== undefined) return { id, state: 'failed', value: `${error.code}: ${error.message}` };
  // An answer repeated while the transaction is open has no commit.
  const recorded = isStepsJobId(id) ? `,"recorded":${answer === undefined && commitSeq > 0}` : '';
  const value = `{"commitSeq":${commitSeq},"writes":${writes},"failures":${failures}${recorded}}`;
  return { id, state: 'completed', value };
}

/** The writer's letters, and one for each poisoned write without one: its caller waits, but people look for it here. */
function mergeLetters(
  job: TakenJob,
  letters: readonly DeadLetter[],
  condemned: Readonly<Record<number, WireError>> | undefined,
): readonly DeadLetter[] {
  if (condemned === undefined) return letters;
  let message: WriteJobMessage;
  try {
    message = parseWriteJob(job.data);
  } catch {
    return letters; // unreadable: refused as a whole, there is no write to keep
  }
  const known = new Set(letters.map(letter => letter.receiptId));
  const whole = condemned[-1];
  const more: DeadLetter[] = [];
  for (const index of message.ops.keys()) {
    const error = condemned[index] ?? whole;
    const receipt = receiptId(job.id, index);
    if (error !== undefined && !known.has(receipt)) {
      more.push({ receiptId: receipt, sql: firstSql(message, index), error });
    }
  }
  return [...letters, ...more];
}

/** The SQL text of a write, or of a transaction's first statement; '' where it is malformed. */
function firstSql(message: WriteJobMessage, index: number): string {
  const operation: unknown = message.ops[index];
  if (operation === null || typeof operation !== 'object') return '';
  const { s, x, t, q } = operation as {
    s?: unknown;
    x?: unknown;
    t?: { s?: unknown }[];
    q?: { s?: unknown }[];
  };
  const text = message.sql[Number(s ?? x ?? t?.[0]?.s ?? q?.[0]?.s ?? -1)];
  return typeof text === 'string' ? text : '';
}

const NO_JOBS: readonly HeldJob[] = Object.freeze([]);

function isLoaded(job: HeldJob): job is LoadedJob {
  return job.data !== undefined;
}

/** Frees the memory of its data. */
function free({ memory }: HeldJob): void {
  memory?.grant.release(memory.cost);
}

function readFacts(data: string): SeenFacts {
  return { client: clientIn(data), hasUnawaitedWrite: hasUnawaitedWriteIn(data) };
}

function hasUnawaitedWriteIn(data: string): boolean {
  if (!data.includes('"d":1')) return false;
  try {
    return parseWriteJob(data).ops.some(operation => operation?.d === 1);
  } catch {
    return false;
  }
}

function clientIn(data: string): string {
  try {
    return String((JSON.parse(data) as WriteJobMessage).client);
  } catch {
    return '';
  }
}

/** Whether no caller waits for one of the job's writes: then the job stays until the tenant can be written. */
function hasUnawaitedWrite({ data, seen }: HeldJob): boolean {
  return data === undefined ? (seen?.hasUnawaitedWrite ?? true) : hasUnawaitedWriteIn(data);
}

function clientOf({ data, seen }: HeldJob): string {
  return data === undefined ? (seen?.client ?? '') : clientIn(data);
}
