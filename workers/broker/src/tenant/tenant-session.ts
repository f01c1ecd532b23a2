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
 *                    ring                       its turn                outcome
 *   asleep ────────────▶ taking ──jobs──▶ ready ─────────▶ in the thread ──────▶ finishing ──▶ asleep
 *                          ▲                ▲                   │                    │
 *                          │                └── the next batch ◀┘ while it runs      │
 *                          └────────────────── with the finish: the next jobs ◀──────┘
 *
 * What is taken, and read, is paid for with memory that all tenants share (job-memory.ts): without a grant nothing is asked of
 * Redis. A job that is held may be without its data, which is in Redis then: one that was active when this process began to
 * lead, and those of a tenant that cannot go on now, whose memory others need more. It has its place all the same, and its
 * data is read when its turn is near.
 *
 * Order (G3): jobs are taken oldest first, by one take at a time, and stand in `#ready` in that order; one batch is in the
 * thread at a time. What holds at every moment, so that a job begins only if it is the oldest that is held:
 *
 *   1. Each job that is held stands in exactly one of `#ready`, `#followUps` and `#inThread`; `#unsettled` counts them. A
 *      batch that leaves the thread and is not applied is back at the front before anything is awaited.
 *   2. `#ready` is in the order of the takes (`place`), apart from steps of a transaction that is over.
 *   3. While it is being decided what becomes of a job (`#undecided`), nothing of the tenant begins.
 *
 * `#assertOldest` checks 1 and 2 before each batch.
 *
 * A bell that rings during a take may be of a job that the take did not see: `#mayHaveMore` is cleared before the take
 * is sent, set by each ring, and set where the answer tells of more. Only when it is clear does the tenant sleep.
 *
 * A job of steps runs alone, and may leave a transaction open on the tenant's connection. Then the session holds a lease:
 * nothing of the tenant is begun or taken but the jobs that go on with that transaction, until it ends or is taken away
 * (transaction-lease.ts). What was taken ahead is put back, so that whoever sent it can withdraw it.
 *
 *            steps left it open                        COMMIT, ROLLBACK
 *   in the thread ──────────────▶ leased ◀──▶ a step in the thread ─────────▶ as usual
 *                                   └── others wait, and its time is over: rolled back ──▶
 *
 * Such a job is not begun for a client that is gone: it is looked for first, and the lease ends where it is not found.
 *
 * A job of a protocol version that this broker does not know stays at the front, and what came after it behind it, until a
 * broker leads that knows it. Callers behind it hear at once that their writes are not applied.
 *
 * What is committed is told to its callers at once, and finished in Redis with the next take, or a moment later where the
 * tenant is busy and none comes: until then a successor would find it active, and in the ledger.
 *
 * After an error of the connection it is not known what a take took: `#stale`, and the list of active jobs is read
 * before anything more is taken. So it is at the beginning: a leader that died, or is just being overtaken, may have left
 * jobs there that are older than all that wait.
 */

/** What all sessions share. */
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
  /** Told of each batch that is done. */
  readonly observers: readonly BatchObserver[];
  readonly log: Logger;
  /** The epoch to commit under. */
  readonly epoch: () => number;
  /** A file has seen a newer epoch. Resolves where this process still leads, under a higher one; else it ends. */
  readonly onFenced: (tenant: string, error: WireError) => Promise<void>;
  readonly transactionLimits: TransactionLimits;
  /** The tenant is held: this session begins nothing more, and is to be drained and forgotten. */
  readonly onHeld: (tenant: string) => void;
  /** A session told what is not finished in Redis: it is to be asked soon ({@link TenantSession.finishTold}). */
  readonly finishSoon: (session: TenantSession) => void;
  /** Called for each batch that is committed, before anybody is told. */
  readonly afterCommit: Failpoint;
  /** An error that nothing here can do anything about. */
  readonly onBug: (error: unknown) => void;
}

type BatchTimes = Pick<FinishedBatch, 'queuedAt' | 'begunAt' | 'committedAt'>;

/** A job that this broker has. */
interface HeldJob extends ActiveJob {
  /** Rises with each job that is held. */
  readonly place: number;
  /** By the client's clock, ms; undefined where its id does not tell. */
  readonly enqueuedAt: number | undefined;
  /** On the monotonic clock, ms. */
  readonly takenAt: number;
  /** Starts of it that ended with their process or thread, as far as known: that of a job that waited in the queue is 0. */
  readonly starts: number;
  /** It may be in the ledger: a leader that is gone had it, or a batch with it ended so that nobody knows. */
  readonly doubtful: boolean;
  /** Undefined while it is in Redis only. */
  readonly data: string | undefined;
  /** What `data` costs, and of which grant; undefined as `data` is. */
  readonly memory: { readonly grant: Grant; readonly cost: number } | undefined;
  /** Set where the job is of a version that this broker does not know; undefined until its data was seen. */
  readonly unknownVersion: number | undefined;
  /** What was read of data that is in Redis only. */
  readonly seen?: SeenFacts | undefined;
  /** When its client was last seen, where it was looked for; on the monotonic clock, ms. */
  readonly clientSeenAt?: number | undefined;
}

/** A {@link HeldJob} whose data is here. */
type LoadedJob = HeldJob & { readonly data: string };

/** What has to be known of a job that fails. */
interface SeenFacts {
  readonly client: string;
  readonly hasUnawaitedWrite: boolean;
}

/** What a take asks memory for at first; after that twice what the last one brought. */
const FIRST_TAKE_BYTES = 128 * 1024;
/** Jobs of one take. */
const MAX_TAKEN_JOBS = LIMITS.maxBatchJobs;
/** Jobs taken ahead of the thread: one batch. */
const MAX_READY_JOBS = LIMITS.maxBatchJobs;
const MAX_READY_BYTES = 2 * 1024 * 1024;
/** A batch where other tenants wait: a slice of some 10 ms of small writes. */
const SLICE_BYTES = 256 * 1024;
/** How long jobs of a busy tenant wait for a take to be finished with, at most. */
export const FINISH_AFTER_MS = 10;
/** How often a refused batch is tried before its callers are told. */
const TRIES_BEFORE_TELLING = 4;
const MAX_RETRY_PAUSE_MS = 5_000;
/** While the file refuses writes, a job that comes has it tried again, but not more often than this. */
const MIN_RETRY_PAUSE_MS = 100;
/** A client that sent a job, or was seen, this short a time ago is not looked for. */
const CLIENT_SEEN_MS = 1_000;
/** Jobs held of a tenant whose file refuses writes: behind those that wait for it are some whose callers want to know. */
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
  /** Of those whose data is here. */
  #readyBytes = 0;
  /** Some of what is held may be without its data. */
  #hasUnloaded = false;
  /** Jobs held: neither applied, nor failed, nor given back. */
  #unsettled = 0;
  #lastPlace = 0;
  /** Decisions that are awaited: see 3 above. */
  #undecided = 0;
  #inThread: readonly LoadedJob[] = [];
  /** It waits for its turn at a lane. */
  #queued = false;
  #taking = false;
  /** Takes that were begun. */
  #takes = 0;
  /** Memory that came and is not used yet. */
  #granted: Grant | undefined;
  /** Of the oldest job that waits, where it was too large for a take; else 0. */
  #tooLargeBytes = 0;
  /** The same of all jobs that go on with the open transaction. */
  #followUpsTooLargeBytes = 0;
  /** Of data that the last take brought. */
  #lastTakenBytes = FIRST_TAKE_BYTES / 2;
  /** The take under way waits for a bell. */
  #atBell = false;
  #mayHaveMore = false;
  #stale = true;
  #reclaimed: number | undefined;
  /** A take was made since the batch in the thread began. */
  #prefetched = false;
  /** Steps are in the thread that may leave a transaction open: what is taken then would have to be put back. */
  #alone = false;
  /** Batches that are committed and not told, or being finished in Redis. */
  #finishing = 0;
  /** Jobs that are committed and told, and still active in Redis. */
  readonly #unfinished: FinishedJob[] = [];
  /** Times in a row that the tenant's file refused a batch. */
  #refusals = 0;
  /** On the monotonic clock, ms. */
  #refusedAt = 0;
  /** The file cannot be opened, and callers were told: it is tried also without jobs. */
  #closedOut = false;
  /** A task without jobs is in the thread. */
  #trying = false;
  /** Jobs that were put back before this session may be applied, whichever they are. */
  #doubt = false;
  /** On the monotonic clock, ms. */
  #toldAt = Number.NEGATIVE_INFINITY;
  /** The `place` up to which callers behind a job of an unknown version were told. */
  #toldBehindPlace = 0;
  readonly #figures = new TenantLoad(this);
  /** Jobs that wait in Redis, as last heard. */
  #waiting = 0;
  /** When it got in line for its lane, and when its turn came; on the monotonic clock, ms. */
  #queuedAt = 0;
  #begunAt = 0;
  /** Of the transaction that is open on the tenant's connection. */
  #lease: TransactionLease | undefined;
  /** Jobs that go on with it, taken and not begun. */
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
      !this.#taking &&
      !this.#stale &&
      !this.#mayHaveMore
    );
  }

  /** Whether jobs may wait that were not taken. */
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

  /** What people want to know of the transaction that is open. */
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
  ring(): void {
    this.#mayHaveMore = true;
    this.#pump();
  }

  /** Resolves when no take is under way. */
  async untilTaken(): Promise<void> {
    while (this.#taking) await new Promise<void>(resolve => this.#restWaiters.push(resolve));
  }

  /** Resolves when the take that is under way now is over; the next may be under way then. */
  async afterTake(): Promise<void> {
    const take = this.#takes;
    while (this.#taking && this.#takes === take) {
      await new Promise<void>(resolve => this.#restWaiters.push(resolve));
    }
  }

  /**
   * Takes when the next bell rings, whosever it is: Redis executes the take behind the wait for it, so the jobs come with
   * the bell. Until then nothing else is taken. The take answers whatever this tenant rang before it: one of which it is
   * not known what it took is repeated here.
   * @param link the connection that waits at the doorbell.
   * @returns undefined where nothing is to be taken now.
   */
  takeAtBell(link: RedisLink): Promise<void> | undefined {
    if (this.#draining || this.#stale || this.#taking || this.#mayHaveMore || this.#prefetched)
      return undefined;
    if (!this.#hasRoom || this.#nextToLoad.length > 0 || this.#alone || this.#lease !== undefined)
      return undefined;
    const grant = this.#context.memory.requestNow(...this.#wishForTake);
    if (grant === undefined) return undefined;
    this.#atBell = true;
    return this.#takeBy(grant, bounds => this.#queue.take(bounds, link)).catch(this.#context.onBug);
  }

  /** Jobs that were active when this session first looked: a dead leader's. */
  get reclaimed(): number {
    return this.#reclaimed ?? 0;
  }

  /** Whether the queue is this process's, and all that is active in it is known here. */
  get adopted(): boolean {
    return !this.#stale;
  }

  /** Takes over the active jobs of a leader that died. @returns how many. @throws Error of Redis */
  async adopt(): Promise<number> {
    // It woke up meanwhile: what it has on its way is active, too, and its own.
    if (this.#taking || this.#finishing > 0) {
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
    while (this.#atWork || this.#finishing > 0 || this.#taking || this.#unfinished.length > 0) {
      if (this.#atWork || this.#taking || this.#unfinished.length === 0) {
        await new Promise<void>(resolve => this.#restWaiters.push(resolve));
      } else await this.#finishUnfinished().catch(this.#context.onBug);
    }
  }

  /** Finishes in Redis what was told and no take took with it. @throws Error of Redis */
  async finishTold(): Promise<void> {
    if (this.#unfinished.length === 0) return;
    // A take may have to be repeated first, and then it takes them with it; one that waits for a bell may wait long.
    if ((this.#taking && !this.#atBell) || this.#stale) this.#context.finishSoon(this);
    else await this.#finishUnfinished();
  }

  /** Puts jobs that were not begun back into the queue. @returns how many. */
  async giveBack(): Promise<number> {
    const jobs = [...this.#followUps, ...this.#ready];
    const doubt = this.#doubt || jobs.some(({ doubtful }) => doubtful);
    if (jobs.length > 0)
      await this.#queue.giveBack(
        jobs.map(job => job.id),
        doubt,
      );
    // Not before: a call that fails is repeated. By id: what is learned of a job meanwhile makes another object of it.
    const given = new Set(jobs.map(job => job.id));
    const isGiven = ({ id }: HeldJob) => given.has(id);
    this.#letGo([...this.#followUps, ...this.#ready].filter(isGiven));
    this.#followUps = this.#followUps.filter(job => !isGiven(job));
    this.#setReady(this.#ready.filter(job => !isGiven(job)));
    return jobs.length;
  }

  /** Renews the locks of jobs held since before `time` (monotonic, ms). */
  async renewLocks(time: number): Promise<void> {
    const old = [...this.#inThread, ...this.#followUps, ...this.#ready].filter(job => job.takenAt < time);
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

  /** What may begin now, as much as a batch may hold. */
  get #loadedFirst(): readonly LoadedJob[] {
    const loaded: LoadedJob[] = [];
    for (const job of this.#ready) {
      if (job.unknownVersion !== undefined || !isLoaded(job) || loaded.length === LIMITS.maxBatchJobs) break;
      loaded.push(job);
    }
    return loaded;
  }

  /** With how many it may share a batch. The callers of a condemned one are answered before the next may do the same harm. */
  #maxTogether({ id, starts }: HeldJob): number {
    const { condemned } = this.#context;
    return isStepsJobId(id) || condemned.of(id) !== undefined ? 1 : condemned.maxTogether(starts);
  }

  /** Whether what begins now can only be the oldest that is held; where it cannot, the process ends. */
  #assertOldest(): boolean {
    const ready = this.#ready;
    let wrong = this.#unsettled !== ready.length + this.#followUps.length;
    // As far as a batch may go: each job comes by here before it begins.
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

  /** Holds everything of the tenant up until it is decided what becomes of a job that it holds. */
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

  /** No jobs: whether the file can be opened again. */
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
    // Whoever revoked it gives it another turn.
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
      // What was put back is the oldest: it is among what was taken by now.
      if (this.#doubt && this.#waiting === 0 && this.#ready.length === 0) this.#clearDoubt();
      this.#noteApplied(batch, outcome);
      this.#context.walWatch.observe(this.tenant, outcome.stats.walBytes);
      this.#context.afterCommit();
      const times = { queuedAt: this.#queuedAt, begunAt: this.#begunAt, committedAt: performance.now() };
      if (outcome.open !== undefined || this.#lease !== undefined) this.#noteTransaction(outcome, batch);
      // The next batch first: the thread works while this one is told.
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
      'The writer thread ended in the middle of a batch; it is delivered again',
    );
    this.#putBack(batch.map(job => ({ ...job, doubtful: true })));
    this.#pause();
    // Else the thread could not start, or ended with another's batch.
    if (wasRunning) this.#decide(() => this.#countStarts(batch)).catch(this.#context.onBug);
    this.#rest();
  }

  /** Each start that ended its thread counts like one that ended the process. */
  async #countStarts(batch: readonly HeldJob[]): Promise<void> {
    const starts = await this.#context.condemned.countStarts(batch.map(job => job.id));
    this.#setStarts(new Map(batch.map((job, index) => [job.id, starts[index] ?? job.starts])));
  }

  #setStarts(known: ReadonlyMap<string, number>): void {
    this.#ready = this.#ready.map(job => {
      const starts = known.get(job.id) ?? job.starts;
      return starts === job.starts ? job : { ...job, starts };
    });
  }

  /** The thread is free of it, and more may be taken. */
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

  /** Does whatever there is to do now. */
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
      if (!this.#taking && this.#finishing === 0) this.#reload().catch(this.#context.onBug);
    } else if (!this.#taking) {
      const toLoad = this.#nextToLoad;
      if (toLoad.length > 0) this.#load(toLoad);
      else if (this.#lease !== undefined) this.#pumpLeased();
      else if (this.#mayHaveMore && this.#hasRoom && !this.#prefetched && !this.#alone) this.#take();
    }
    this.#enqueue();
  }

  /** Memory that this tenant waited for. */
  onMemory(grant: Grant): void {
    this.#granted = grant;
    this.#pump();
    // What it was for is done, or cannot be done now.
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

  /** What a take needs, and what it could use. */
  get #wishForTake(): readonly [number, number] {
    if (this.#tooLargeBytes > 0) {
      const cost = maxCostOfJobs(1, this.#tooLargeBytes);
      return [cost, cost];
    }
    const { maxJobs, maxBytes } = this.#room;
    return [SHARE_BYTES, maxCostOfJobs(maxJobs, Math.min(maxBytes, 2 * this.#lastTakenBytes))];
  }

  /** As much as there is room and memory for. */
  #boundsOf({ bytes }: Grant): TakeBounds {
    if (this.#tooLargeBytes > 0) return { maxJobs: 1, maxBytes: this.#tooLargeBytes };
    const { maxJobs, maxBytes } = this.#room;
    return { maxJobs, maxBytes: Math.min(maxBytes, bytesThatFit(maxJobs, bytes)) };
  }

  /** The thread has something of it. */
  get #atWork(): boolean {
    return this.#inThread.length > 0 || this.#trying;
  }

  get #hasRoom(): boolean {
    const { maxJobs, maxBytes } = this.#room;
    return maxJobs > 0 && maxBytes > 0;
  }

  /** How much the next take may bring. */
  get #room() {
    const parked = this.#refusals >= TRIES_BEFORE_TELLING;
    return {
      maxJobs: Math.min((parked ? MAX_PARKED_JOBS : MAX_READY_JOBS) - this.#ready.length, MAX_TAKEN_JOBS),
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
    if (condemned.mustRunApart(next.starts)) lanes.enqueueAlone(this);
    else lanes.enqueue(this);
  }

  /** Whether the oldest job must not begin, or not yet; sees to what comes of it. */
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

  /** It can neither be applied nor refused here: nothing is known of it, not even whether somebody waits for it. */
  #waitForNewerBroker(version: number): void {
    const { parked, metrics } = this.#context;
    const what = `A job of protocol version ${version} is the oldest, and this broker knows version ${PROTOCOL_VERSION}: it stays queued for a broker that knows it, and so does what came after it.`;
    if (this.#refusals < TRIES_BEFORE_TELLING) metrics.refused('UNSUPPORTED_VERSION');
    // As of a parked tenant more jobs are held: among them are some whose callers want to know.
    this.#refusals = Math.max(this.#refusals, TRIES_BEFORE_TELLING);
    parked.park(this.tenant, { code: 'UNSUPPORTED_VERSION', message: what });
    const behind = this.#ready.filter(
      job =>
        job.place > this.#toldBehindPlace &&
        job.unknownVersion === undefined &&
        !job.doubtful &&
        !hasUnawaitedWrite(job),
    );
    this.#toldBehindPlace = this.#lastPlace;
    this.#unload();
    if (behind.length === 0) return;
    const details = { tenant: this.tenant, reason: 'a job of an unknown protocol version is before it' };
    const error = toWireError(new OnewriterError('TENANT_UNAVAILABLE', what, details));
    this.#fail(behind, error).catch(this.#context.onBug);
  }

  /** The client of a job that may leave a transaction open, if it is to be looked for before that begins. */
  #clientToLookFor({ id, data, enqueuedAt, doubtful, clientSeenAt }: HeldJob): string | undefined {
    // One that may be committed is asked about in the ledger.
    if (!isStepsJobId(id) || isFollowUpJobId(id) || doubtful) return undefined;
    if (clientSeenAt !== undefined && performance.now() - clientSeenAt < CLIENT_SEEN_MS) return undefined;
    const ageMs = enqueuedAt === undefined ? Number.NaN : Date.now() - enqueuedAt;
    if (ageMs >= 0 && ageMs < CLIENT_SEEN_MS) return undefined;
    return data === undefined ? undefined : readLiveClient(data);
  }

  async #lookForClient(job: HeldJob, client: string): Promise<void> {
    const { presence, log } = this.#context;
    const isHere = await presence.isHere(client);
    // Else it was given back meanwhile.
    if (this.#ready[0]?.id !== job.id) return;
    if (isHere) {
      this.#ready[0] = { ...job, clientSeenAt: performance.now() };
      return;
    }
    log.info({ tenant: this.tenant, job: job.id, client }, 'A transaction is not begun: its client is gone');
    const message = 'The client was gone when its transaction could begin; nothing was run.';
    const error = toWireError(new OnewriterError('TRANSACTION_BUSY', message, { tenant: this.tenant }));
    await this.#fail([job], error);
  }

  #take(): void {
    const grant = this.#requestMemory(this.#wishForTake);
    if (grant === undefined) return;
    const finished = this.#unfinished.splice(0);
    this.#takeBy(grant, async bounds => {
      if (finished.length === 0) return this.#queue.take(bounds);
      try {
        return (await this.#queue.finish(finished, bounds)).taken;
      } catch (error) {
        if (!isFinishedAllTheSame(error)) this.#unfinished.unshift(...finished);
        throw error;
      }
    }).catch(this.#context.onBug);
  }

  async #takeBy(grant: Grant, take: (bounds: TakeBounds) => Promise<Taken>): Promise<void> {
    this.#beginTake();
    this.#mayHaveMore = false;
    this.#prefetched = this.#inThread.length > 0;
    try {
      this.#receive(await take(this.#boundsOf(grant)), grant);
    } catch (error) {
      grant.release();
      await this.#onTakeFailed(error);
    } finally {
      this.#taking = false;
      this.#atBell = false;
      this.#pump();
      this.#rest();
    }
  }

  #beginTake(): void {
    this.#taking = true;
    this.#takes++;
  }

  /** What is held without its data, and is near its turn. */
  get #nextToLoad(): readonly HeldJob[] {
    // A pause is over before anything is tried.
    if (!this.#hasUnloaded || this.#retry !== undefined) return NO_JOBS;
    if (this.#lease !== undefined)
      return this.#followUps.filter(job => !isLoaded(job)).slice(0, MAX_TAKEN_JOBS);
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
      // What is newer than the oldest cannot begin before it, and must not keep memory from it.
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
    this.#beginTake();
    try {
      this.#fill(ids, await this.#context.link.insist(() => this.#queue.read(ids)), grant);
    } finally {
      this.#taking = false;
      this.#pump();
      this.#rest();
    }
  }

  /** The data of jobs that are held came; those that are not in Redis any more are gone. */
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
      // Changed since its size was asked for: read again.
      if (cost > left) return [{ ...job, bytes: Buffer.byteLength(data) }];
      left -= cost;
      if (job.seen === undefined) this.#context.metrics.taken(data.length);
      return [{ ...job, data, memory: { grant, cost }, unknownVersion: unknownVersionOf(data) }];
    };
    this.#followUps = this.#followUps.flatMap(fill);
    this.#setReady(this.#ready.flatMap(fill));
    this.#letGo(gone);
    grant.shrinkTo(grant.bytes - left);
    this.#hasUnloaded = [...this.#followUps, ...this.#ready].some(job => !isLoaded(job));
  }

  /** Gives the memory of what is held back, where it cannot begin now: others need it more. */
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

  /** It does not hold these any more. */
  #letGo(jobs: readonly HeldJob[]): void {
    this.#unsettled -= jobs.length;
    for (const job of jobs) free(job);
  }

  async #finishUnfinished(): Promise<void> {
    const finished = this.#unfinished.splice(0);
    this.#finishing++;
    try {
      await this.#context.link.insist(() => this.#queue.finish(finished, undefined));
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
    const usefulBytes = Math.max(tooLarge, 2 * this.#lastTakenBytes);
    const grant = this.#requestMemory([
      tooLarge === 0 ? SHARE_BYTES : maxCostOfJobs(FOLLOW_UPS_AMONG, tooLarge),
      maxCostOfJobs(FOLLOW_UPS_AMONG, usefulBytes),
    ]);
    if (grant !== undefined) this.#takeFollowUps(grant).catch(this.#context.onBug);
  }

  async #takeFollowUps(grant: Grant): Promise<void> {
    this.#beginTake();
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
      await this.#onTakeFailed(error);
    } finally {
      this.#taking = false;
      this.#pump();
      this.#rest();
    }
  }

  /** What was taken ahead and may go back: nothing that is older than a job that has to stay. */
  get #returnable(): readonly HeldJob[] {
    return this.#ready.slice(this.#ready.findLastIndex(job => !mayWaitInQueue(job)) + 1);
  }

  /** What was taken ahead goes back to where it came from: its sender may withdraw it there, and others see that it waits. */
  async #returnReady(): Promise<void> {
    this.#beginTake();
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
      this.#taking = false;
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

  /** Others wait: whether the client of the open transaction is still there to end it. */
  async #lookForHolder(lease: TransactionLease): Promise<void> {
    if (await this.#context.presence.isHere(lease.client)) return;
    // A step that came meanwhile is a sign of life.
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
        ? 'An interactive transaction was open for too long while others waited: it is rolled back'
        : 'An interactive transaction was open for too long: it is rolled back',
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

  async #onTakeFailed(error: unknown): Promise<void> {
    this.#stale = true;
    if (isOnewriterError(error, 'FENCED')) await this.#context.onFenced(this.tenant, toWireError(error));
    else if (!isTemporary(error)) throw error;
  }

  /** Repeats what may be repeated, for as long as this process leads. */
  async #leading<Result>(attempt: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await this.#context.link.insist(attempt);
      } catch (error) {
        if (!isOnewriterError(error, 'FENCED')) throw error;
        await this.#context.onFenced(this.tenant, toWireError(error));
      }
    }
  }

  /** The tenant is held. What was begun is finished; a session of its own follows when the last hold has ended. */
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
    // Nothing is here yet of what was to be taken while the thread works.
    if (tooLarge !== undefined) this.#prefetched = false;
    this.#hold(jobs, this.#doubt, grant);
  }

  /** @param doubtful they may be applied @param grant that they were taken with, and share from now on */
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
          starts: 0,
          memory: { grant, cost },
        },
        unknownVersion: unknownVersionOf(data),
      };
    });
    grant.shrinkTo(costs);
    if (jobs.length === 0) return;
    this.#lastTakenBytes = bytes;
    this.#context.metrics.taken(bytes);
    this.#add(held);
  }

  /** Jobs that were active before: their data is read when their turn is near. */
  #holdActive(jobs: readonly ActiveJob[], starts: readonly number[]): void {
    if (jobs.length === 0) return;
    this.#hasUnloaded = true;
    const unloaded = { data: undefined, memory: undefined, unknownVersion: undefined, doubtful: true };
    this.#add(jobs.map((job, index) => ({ ...job, ...unloaded, starts: starts[index] ?? 0 })));
  }

  #add(jobs: readonly Omit<HeldJob, 'place' | 'enqueuedAt' | 'takenAt'>[]): void {
    const takenAt = performance.now();
    const now = Date.now();
    const { metrics, loads } = this.#context;
    this.lastUsedAt = takenAt;
    for (const added of jobs) {
      const enqueuedAt = timeOfJobId(added.id);
      if (enqueuedAt !== undefined) metrics.observe('queue', now - enqueuedAt);
      const job: HeldJob = { ...added, place: ++this.#lastPlace, enqueuedAt, takenAt };
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

  /** Reads what is active, adds what is not known here (it is newer than all that is), and takes more. @returns how many */
  async #reload(): Promise<number> {
    this.#beginTake();
    this.#mayHaveMore = false;
    let grant: Grant | undefined;
    try {
      if (this.#unfinished.length > 0) await this.#finishUnfinished();
      // Before it is asked: what is in the thread now may be committed, and active still, when the answer comes.
      const here = [...this.#inThread, ...this.#followUps, ...this.#ready, ...this.#unfinished];
      const known = new Set(here.map(job => job.id));
      grant = this.#hasRoom ? this.#context.memory.requestNow(...this.#wishForTake) : undefined;
      const bounds = grant === undefined ? undefined : { ...this.#boundsOf(grant), ifIdle: true };
      // In one round trip; a take whose answer is lost is among the active jobs of the next attempt.
      const [active, taken] = await this.#leading(() =>
        Promise.all([this.#queue.adopt(), bounds && this.#queue.take(bounds)]),
      );
      if (active.held) {
        this.#giveWay();
        return 0;
      }
      const jobs = active.jobs.filter(job => !known.has(job.id));
      const starts = await this.#context.condemned.startsOf(jobs.map(job => job.id));
      this.#stale = false;
      this.#reclaimed ??= jobs.length;
      this.#doubt ||= active.doubt;
      this.#holdActive(jobs, starts);
      if (grant === undefined || taken === undefined) this.#mayHaveMore = true;
      else {
        this.#receive(taken, grant);
        grant = undefined;
      }
      return jobs.length;
    } finally {
      grant?.release();
      this.#taking = false;
      this.#pump();
      this.#rest();
    }
  }

  /** Its turn has come. @param oldest of the batch */
  #noteBegin({ takenAt }: HeldJob): void {
    const { metrics } = this.#context;
    this.#begunAt = performance.now();
    metrics.observe('prefetch', this.#queuedAt - takenAt);
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

  /** After the commit: tells the clients, and sees to it that the jobs are finished. */
  async #finish(batch: readonly LoadedJob[], applied: AppliedOutcome, times: BatchTimes): Promise<void> {
    const { jobs: outcomes, stats } = applied;
    const settlements = outcomes.map(outcome => ({ ...outcome, jobId: outcome.id, tenant: this.tenant }));
    const finished = outcomes.map(toFinishedJob);
    this.#finishing++;
    try {
      if (this.#canWait(batch, outcomes)) await this.#tell(settlements, finished);
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

  /** Whether nothing but the jobs themselves has to be tidied up. */
  #canWait(batch: readonly HeldJob[], outcomes: readonly JobOutcome[]): boolean {
    const { condemned } = this.#context;
    return (
      this.#lease === undefined &&
      !isStepsJobId(batch[0]!.id) &&
      !batch.some(job => condemned.knows(job)) &&
      outcomes.every(({ error, deadLetters }) => error === undefined && deadLetters === undefined)
    );
  }

  async #tell(settlements: readonly Settlement[], finished: readonly FinishedJob[]): Promise<void> {
    const { inbox, link } = this.#context;
    this.#unfinished.push(...finished);
    const telling = inbox.publish(settlements);
    link.expedite();
    // The next jobs, if any wait; these are finished with them.
    this.#pump();
    if (this.#unfinished.length > 0) {
      const sinceMs = performance.now() - this.#toldAt;
      // Of a tenant that has just been told something, more is likely to come.
      if (sinceMs < FINISH_AFTER_MS) this.#context.finishSoon(this);
      else this.finishTold().catch(this.#context.onBug);
    }
    this.#toldAt = performance.now();
    // Events are hints; a lost one is sent again once.
    if (!(await telling)) await link.insist(() => inbox.publish(settlements));
  }

  async #finishNow(
    batch: readonly LoadedJob[],
    outcomes: readonly JobOutcome[],
    settlements: readonly Settlement[],
    finished: readonly FinishedJob[],
  ): Promise<void> {
    const { inbox, link, condemned, backOff, onHeld } = this.#context;
    // Before the job is gone, so that it is counted; a crash in between counts it twice.
    const isPoisoned = batch.some(({ id }) => condemned.of(id)?.[-1]?.code === 'POISON_JOB');
    if (isPoisoned && (await backOff.notePoison(this.tenant))) onHeld(this.tenant);
    const letters = this.#collectDeadLetters(batch, outcomes);
    // Before the job is gone: a crash in between delivers it again, and its letters come again under the same ids.
    if (letters !== undefined) await letters;
    await link.insist(() => {
      // The callers hear first.
      void inbox.publish(settlements);
      link.expedite();
      return this.#queue.finish(finished, undefined);
    });
    await condemned.forget(batch);
  }

  /** Undefined, without a promise, where there are none: that is the usual case. */
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
      additions.push(link.insist(() => deadLetters.add(this.tenant, job, letters)));
    }
    return additions.length === 0 ? undefined : Promise.all(additions);
  }

  async #onRefused(batch: readonly LoadedJob[], refusal: RefusedOutcome): Promise<void> {
    const { error, uncertain, begun } = refusal;
    // Whatever refused it, the transaction is rolled back, or its connection given up.
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
    if (mayRecover && this.#refusals < TRIES_BEFORE_TELLING) {
      this.#pause();
      return;
    }
    // Of what may be committed nobody is told anything before the ledger could be asked.
    const failed = this.#refusedBy(batch, refusal);
    const kept = batch.some(({ id }) => !failed.some(job => job.id === id));
    if (mayRecover || kept || error.code === 'DATABASE_CORRUPT') {
      this.#refusals = Math.max(this.#refusals, TRIES_BEFORE_TELLING);
      this.#closedOut = !begun;
      parked.park(this.tenant, error);
      if (kept || !begun) this.#pause();
    } else this.#closedOut = false;
    await this.#fail(failed, error);
  }

  /**
   * The jobs of what is held that were certainly not applied and that callers wait for; the others stay until the file can
   * be written. Where the file as a whole refuses, those that were not tried would fail, too.
   */
  #refusedBy(batch: readonly HeldJob[], { error, uncertain, begun }: RefusedOutcome): readonly HeldJob[] {
    const tried = new Set(batch.map(({ id }) => id));
    const concernsAll = !begun || OF_THE_FILE.has(error.code);
    const isRefused = (job: HeldJob) => {
      const certain = tried.has(job.id) && !uncertain ? true : !job.doubtful;
      // Of a version that is not known here nobody can say whether its caller waits.
      if (job.unknownVersion !== undefined) return false;
      return certain && (concernsAll || tried.has(job.id)) && !hasUnawaitedWrite(job);
    };
    return this.#ready.filter(isRefused);
  }

  /**
   * Fails jobs of which nothing is committed. First they leave the queue, then their callers hear: told before, a crash
   * in between would deliver a job again whose caller believes that it failed. Until then they keep their places: one that
   * cannot be failed, because its lock is not ours, is read again and begins before what came after it.
   * @param jobs in `#ready`.
   */
  async #fail(jobs: readonly HeldJob[], error: WireError): Promise<void> {
    if (jobs.length === 0) {
      this.#pump();
      return;
    }
    this.#finishing++;
    try {
      const told = await this.#decide(() => this.#failInQueue(jobs, error));
      await this.#context.inbox.publish(
        told.map(job => ({
          jobId: job.id,
          client: clientOf(job),
          tenant: this.tenant,
          commitSeq: 0,
          results: '',
          error,
        })),
      );
      await this.#context.condemned.forget(told);
    } finally {
      this.#finishing--;
      this.#pump();
      this.#rest();
    }
  }

  /** @returns those that left the queue, and are not held any more. */
  async #failInQueue(jobs: readonly HeldJob[], error: WireError): Promise<readonly HeldJob[]> {
    const value = `${error.code}: ${error.message}`;
    const finished = jobs.map(({ id }) => ({ id, state: 'failed' as const, value }));
    const { refused } = await this.#context.link.insist(() => this.#queue.finish(finished, undefined));
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

  /** The ledger could be asked about any job. */
  #clearDoubt(): void {
    this.#doubt = false;
    const mark = this.#queue.doubtMark;
    this.#context.link.insist(() => this.#queue.forgetDoubt(mark)).catch(this.#context.onBug);
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
    if (this.#refusals >= TRIES_BEFORE_TELLING) this.#unload();
    this.#retryIn(backOffMs(Math.max(1, this.#refusals), { firstMs: 50, maxMs: MAX_RETRY_PAUSE_MS }));
  }

  /** Cuts a pause short: a job came, whose caller is not to wait for the end of it. */
  #hurry(): void {
    if (this.#draining || this.#refusals < TRIES_BEFORE_TELLING) return;
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

/** Whether jobs were finished by a call that threw this: the fence only keeps it from taking. */
function isFinishedAllTheSame(error: unknown): boolean {
  return isOnewriterError(error, 'FENCED') || error instanceof QueueForgotten;
}

/** A job that was active when a process ended is not taken again, or its count, and that it may be applied, would be lost. */
function mayWaitInQueue({ starts, doubtful }: HeldJob): boolean {
  return starts === 0 && !doubtful;
}

/** Codes that another try cannot change. */
const FINAL: ReadonlySet<string> = new Set(['TENANT_NOT_FOUND', 'INVALID_TENANT', 'DATABASE_CORRUPT']);

/** Codes that speak of the file, whatever the write. */
const OF_THE_FILE: ReadonlySet<string> = new Set([
  ...['DATABASE_CORRUPT', 'DATABASE_READONLY', 'DATABASE_IO_ERROR', 'TENANT_UNAVAILABLE'],
]);

/**
 * What is kept of a job in Redis. Of steps that run alone it also says whether the ledger has a row of them (`recorded`):
 * those that committed nothing, or left a transaction open, have none. Every other job that is completed has one.
 */
export function toFinishedJob(outcome: JobOutcome): FinishedJob {
  const { id, error, commitSeq, writes, failures, answer } = outcome;
  if (error !== undefined) return { id, state: 'failed', value: `${error.code}: ${error.message}` };
  // An answer that is repeated while the transaction is open has no commit.
  const recorded = isStepsJobId(id) ? `,"recorded":${answer === undefined && commitSeq > 0}` : '';
  const value = `{"commitSeq":${commitSeq},"writes":${writes},"failures":${failures}${recorded}}`;
  return { id, state: 'completed', value };
}

/** The writer's letters, and one for each condemned write that has none: somebody waits for it, and people look here. */
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

/** The SQL text of a write, of a transaction that of its first statement; '' where it is malformed. */
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

/** Its data is needed no more. */
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

/** Whether nobody waits for one of a job's writes: then the job stays until the tenant can be written. */
function hasUnawaitedWrite({ data, seen }: HeldJob): boolean {
  return data === undefined ? (seen?.hasUnawaitedWrite ?? true) : hasUnawaitedWriteIn(data);
}

function clientOf({ data, seen }: HeldJob): string {
  return data === undefined ? (seen?.client ?? '') : clientIn(data);
}
