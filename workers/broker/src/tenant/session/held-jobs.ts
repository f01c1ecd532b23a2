import assert from 'node:assert/strict';
import { isFollowUpJobId, isReadJobId, LIMITS, unknownVersionOf } from '@onewriter/protocol';
import { costOfJob, type Grant } from '../../lanes/job-memory.ts';
import type { FetchedJob } from '../../queue/tenant-queue.ts';
import { freeMemory, type HeldJob, isLoaded, type LoadedJob, mayWaitInQueue, unloaded } from './held-job.ts';

/*
 * The jobs that a session holds, in three lists:
 *
 *            add                    take                    settle
 *   Redis ────────▶ ready ─────────────────▶ in the thread ────────▶ completed
 *              └──▶ follow-ups ─takeFollowUp─▶    │
 *                        ▲      putBack           │
 *                        └────────────────────────┘
 *
 * Each job stands in exactly one of them. `ready` is in the order of the fetches (`place`), apart from steps of a transaction
 * that is over. While a transaction is open, the steps that continue it stand in `follow-ups`, and only they may begin.
 *
 * A job may be without its data, which is then only in Redis: those that were active when this process began to lead, and those
 * of a tenant that cannot continue now, whose memory others need more. Such a job keeps its place. Nothing here waits or does
 * I/O.
 */

/** Jobs of one fetch, at most. */
export const MAX_FETCHED_JOBS = LIMITS.maxBatchJobs;
/** Jobs fetched ahead of the thread: one batch. */
const MAX_READY_JOBS = LIMITS.maxBatchJobs;
export const MAX_READY_BYTES = 2 * 1024 * 1024;
/** Jobs held of a tenant whose file refuses writes: behind those that wait for the file are some that callers wait for. */
const MAX_PARKED_JOBS = LIMITS.maxQueueDepth;
const MAX_PARKED_BYTES = 16 * 1024 * 1024;

/** How much the next fetch may return. */
export interface Room {
  readonly maxJobs: number;
  readonly maxBytes: number;
}

const NO_JOBS: readonly HeldJob[] = Object.freeze([]);

/** The jobs of one tenant that this process holds: neither completed, nor failed, nor requeued. */
export class HeldJobs {
  #ready: readonly HeldJob[] = [];
  /** Bytes of the ready jobs whose data is here. */
  #readyBytes = 0;
  #followUps: readonly HeldJob[] = [];
  #inThread: readonly LoadedJob[] = [];
  #inTransaction = false;
  /** Some of what is held may be without its data. */
  #hasUnloaded = false;
  /** Jobs that were added and did not leave; counted apart from the lists, so that a lost job is noticed. */
  #unsettled = 0;
  #lastPlace = 0;

  get ready(): readonly HeldJob[] {
    return this.#ready;
  }

  /** Steps that continue the open transaction, fetched and not begun. */
  get followUps(): readonly HeldJob[] {
    return this.#followUps;
  }

  get inThread(): readonly LoadedJob[] {
    return this.#inThread;
  }

  get size(): number {
    return this.#ready.length + this.#inThread.length + this.#followUps.length;
  }

  /** Those that were not begun, the steps first. */
  get notBegun(): readonly HeldJob[] {
    return [...this.#followUps, ...this.#ready];
  }

  get all(): readonly HeldJob[] {
    return [...this.#inThread, ...this.#followUps, ...this.#ready];
  }

  /** The job that begins next; undefined: none. */
  get next(): HeldJob | undefined {
    return this.#inTransaction ? this.#followUps[0] : this.#ready[0];
  }

  /** The newest job that may begin. */
  get newest(): HeldJob | undefined {
    return this.#inTransaction ? this.#followUps.at(-1) : this.#ready.at(-1);
  }

  /** The place of the job that was added last. */
  get lastPlace(): number {
    return this.#lastPlace;
  }

  get hasUnloaded(): boolean {
    return this.#hasUnloaded;
  }

  /** A transaction is open: only the steps that continue it may begin. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /** @param isParked the file refuses writes */
  room(isParked: boolean): Room {
    return {
      maxJobs: Math.min((isParked ? MAX_PARKED_JOBS : MAX_READY_JOBS) - this.#ready.length, MAX_FETCHED_JOBS),
      maxBytes: (isParked ? MAX_PARKED_BYTES : MAX_READY_BYTES) - this.#readyBytes,
    };
  }

  /** @param jobs newer than all that are held */
  add(jobs: readonly Omit<HeldJob, 'place'>[]): void {
    const ready: HeldJob[] = [];
    const followUps: HeldJob[] = [];
    for (const added of jobs) {
      const job: HeldJob = { ...added, place: ++this.#lastPlace };
      if (this.#inTransaction && isFollowUpJobId(job.id)) followUps.push(job);
      else {
        ready.push(job);
        this.#readyBytes += job.data?.length ?? 0;
      }
      if (!isLoaded(job)) this.#hasUnloaded = true;
    }
    if (ready.length > 0) this.#ready = this.#ready.length === 0 ? ready : [...this.#ready, ...ready];
    if (followUps.length > 0) this.#followUps = [...this.#followUps, ...followUps];
    this.#unsettled += jobs.length;
  }

  /** Whether nothing is ready but reads. */
  get hasOnlyReads(): boolean {
    return !this.#inTransaction && this.#ready.every(({ id }) => isReadJobId(id));
  }

  /** Ready jobs that may begin now, at most one batch. */
  get loadedFirst(): readonly LoadedJob[] {
    const loaded: LoadedJob[] = [];
    for (const job of this.#ready) {
      if (job.unknownVersion !== undefined || !isLoaded(job) || loaded.length === LIMITS.maxBatchJobs) break;
      loaded.push(job);
    }
    return loaded;
  }

  /** Moves the first ready jobs into the thread. @param batch the beginning of {@link loadedFirst} */
  take(batch: readonly LoadedJob[]): void {
    assert(this.#inThread.length === 0, 'A batch begins while another is in the thread.');
    assert(!this.#inTransaction, 'A batch begins while a transaction is open.');
    this.#ready = this.#ready.slice(batch.length);
    for (const { data } of batch) this.#readyBytes -= data.length;
    this.#inThread = batch;
  }

  /** Moves the first step that continues the open transaction into the thread. @returns undefined where it is not here */
  takeFollowUp(): LoadedJob | undefined {
    assert(this.#inThread.length === 0, 'A step begins while a batch is in the thread.');
    assert(this.#inTransaction, 'A step begins without its transaction.');
    const [job] = this.#followUps;
    if (job === undefined || !isLoaded(job)) return undefined;
    this.#followUps = this.#followUps.slice(1);
    this.#inThread = [job];
    return job;
  }

  /** The batch left the thread: before anything is awaited it is put back or settled. */
  leaveThread(): readonly LoadedJob[] {
    const batch = this.#inThread;
    this.#inThread = [];
    return batch;
  }

  /** A batch that left the thread is committed. Its memory is freed when its callers are answered. */
  settle(batch: readonly LoadedJob[]): void {
    this.#unsettled -= batch.length;
  }

  /** A batch that left the thread was not applied: its jobs are the oldest again. */
  putBack(jobs: readonly HeldJob[]): void {
    if (jobs.length === 0) return;
    if (this.#inTransaction) {
      // Only steps of the transaction are begun while it is open.
      this.#followUps = [...jobs, ...this.#followUps];
      return;
    }
    this.#ready = [...jobs, ...this.#ready];
    for (const { data } of jobs) this.#readyBytes += data?.length ?? 0;
  }

  beginTransaction(): void {
    this.#inTransaction = true;
  }

  /** Steps that come too late for their transaction are answered as any other job. */
  endTransaction(): void {
    this.#inTransaction = false;
    const late = this.#followUps;
    this.#followUps = [];
    this.putBack(late);
  }

  /** Lets jobs go that were not begun: they are failed, requeued, or no longer in Redis. */
  remove(ids: ReadonlySet<string>): void {
    const isKept = ({ id }: HeldJob) => !ids.has(id);
    const gone = this.notBegun.filter(job => !isKept(job));
    this.#followUps = this.#followUps.filter(isKept);
    this.#setReady(this.#ready.filter(isKept));
    this.#unsettled -= gone.length;
    for (const job of gone) freeMemory(job);
  }

  /** Ready jobs that may be requeued: none that is older than a job that has to stay. */
  get returnable(): readonly HeldJob[] {
    return this.#ready.slice(this.#ready.findLastIndex(job => !mayWaitInQueue(job)) + 1);
  }

  /** Replaces facts about ready jobs. @param change returns the same object where nothing changes */
  update(change: (job: HeldJob) => HeldJob): void {
    this.#ready = this.#ready.map(change);
  }

  /** Jobs without their data that are near their turn. */
  get nextToLoad(): readonly HeldJob[] {
    if (!this.#hasUnloaded) return NO_JOBS;
    if (this.#inTransaction) return this.#followUps.filter(job => !isLoaded(job)).slice(0, MAX_FETCHED_JOBS);
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

  /**
   * The data of held jobs arrived. Jobs that Redis no longer has are let go.
   * @param ids of the jobs that were asked for
   * @param onFirstRead called with the size of each job that was not here before
   */
  fill(
    ids: readonly string[],
    read: readonly FetchedJob[],
    grant: Grant,
    onFirstRead: (bytes: number) => void,
  ): void {
    const asked = new Set(ids);
    const found = new Map(read.map(({ id, data }) => [id, data]));
    const gone = new Set<string>();
    let left = grant.bytes;
    const fill = (job: HeldJob): HeldJob => {
      if (!asked.has(job.id) || isLoaded(job)) return job;
      const data = found.get(job.id);
      if (data === undefined) {
        gone.add(job.id);
        return job;
      }
      const bytes = Buffer.byteLength(data);
      const cost = costOfJob(data, bytes);
      // Its size changed since it was asked for: read again.
      if (cost > left) return { ...job, bytes };
      left -= cost;
      if (job.seen === undefined) onFirstRead(data.length);
      return { ...job, data, memory: { grant, cost }, unknownVersion: unknownVersionOf(data) };
    };
    this.#followUps = this.#followUps.map(fill);
    this.#setReady(this.#ready.map(fill));
    if (gone.size > 0) this.remove(gone);
    grant.shrinkTo(grant.bytes - left);
    this.#hasUnloaded = this.notBegun.some(job => !isLoaded(job));
  }

  /** Releases the memory of ready jobs that cannot begin now: others need it more. */
  unload(): void {
    if (this.#readyBytes === 0) return;
    const before = this.#ready;
    this.#setReady(before.map(unloaded));
    for (const job of before) freeMemory(job);
    this.#hasUnloaded = true;
  }

  /**
   * Call before a batch begins.
   * @throws AssertionError where a newer job would begin before an older one, or a job was lost
   */
  assertOrder(tenant: string): void {
    const ready = this.#ready;
    let isWrong = this.#unsettled !== this.size;
    // As far as a batch may reach: each job passes here before it begins.
    for (let index = 1; index < ready.length && index <= LIMITS.maxBatchJobs; index++) {
      const [before, after] = [ready[index - 1]!, ready[index]!];
      if (before.place > after.place && !isFollowUpJobId(before.id) && !isFollowUpJobId(after.id)) {
        isWrong = true;
      }
    }
    if (!isWrong) return;
    const lists = `${ready.length} ready, ${this.#followUps.length} follow-ups, ${this.#inThread.length} in the thread`;
    assert.fail(`Jobs of ${tenant} lost their order: ${lists}, ${this.#unsettled} held.`);
  }

  #setReady(jobs: readonly HeldJob[]): void {
    this.#ready = jobs;
    this.#readyBytes = jobs.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
  }
}
