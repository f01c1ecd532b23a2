import { isReadJobId, isStepsJobId, LIMITS, newTransactionId } from '@onewriter/protocol';
import { StateMachine, type Transitions } from '@onewriter/tenants';
import type { ApplyTask, QueuedJob, ReadAllowance, TransactionGrant } from '@onewriter/writer';
import { isRefusable } from './admission.ts';
import { chooseBatch } from './batch-choice.ts';
import type { HeldJob, LoadedJob } from './held-job.ts';
import { MAX_READY_BYTES } from './held-jobs.ts';
import type { OpenTransaction } from './open-transaction.ts';
import type { SessionParts } from './session-parts.ts';
import { firstExpiry, limitsOfRedelivered } from './transaction-lease.ts';

/**
 * Where a tenant is on its way through its lane:
 *
 *   resting ──▶ queued ──its turn──▶ batch │ steps │ opening ──outcome, fault──▶ resting
 *      ▲           │ ▲                              │
 *      └─ no task ─┘ └────────── revoked ───────────┘
 *
 * - `resting`: no lane has it.
 * - `queued`: it waits for its turn.
 * - `batch`: a batch is in the thread.
 * - `steps`: steps that may leave a transaction open are in the thread.
 * - `opening`: a task without jobs is in the thread: it finds out whether the file can be opened.
 */
export type LaneStage = 'resting' | 'queued' | 'batch' | 'steps' | 'opening';

/** The thread has at most one task of a tenant, and none without its turn. */
const TRANSITIONS: Transitions<LaneStage> = {
  resting: ['queued'],
  queued: ['resting', 'batch', 'steps', 'opening'],
  batch: ['resting', 'queued'],
  steps: ['resting', 'queued'],
  opening: ['resting', 'queued'],
};

/** A batch where other tenants wait: a slice of some 10 ms of small writes. */
const SLICE_BYTES = 256 * 1024;
/** A read that came too late for the share of reads is sent again after this, at least. */
const MIN_RETRY_MS = 50;

/** A tenant's turns at its lane, and what it does in each. */
export class LaneTurn {
  readonly #parts: SessionParts;
  readonly #transaction: OpenTransaction;
  readonly #stage: StateMachine<LaneStage>;
  /** When it got in line, and when its turn came; on the monotonic clock, ms. */
  #queuedAt = 0;
  #begunAt = 0;

  constructor(parts: SessionParts, transaction: OpenTransaction) {
    this.#parts = parts;
    this.#transaction = transaction;
    this.#stage = new StateMachine(`The session of ${parts.tenant}`, TRANSITIONS, 'resting');
  }

  get stage(): LaneStage {
    return this.#stage.state;
  }

  /** Whether the thread has a task of it. */
  get isInThread(): boolean {
    return !this.#stage.is('resting') && !this.#stage.is('queued');
  }

  /** When it got in line for its lane; on the monotonic clock, ms. */
  get queuedAt(): number {
    return this.#queuedAt;
  }

  /** When its last turn came; 0: it had none. On the monotonic clock, ms. */
  get begunAt(): number {
    return this.#begunAt;
  }

  /** It gets in line. */
  queue(): void {
    this.#stage.enter('queued');
    this.#queuedAt = performance.now();
  }

  /**
   * Its turn has come.
   * @param contended others wait
   * @param mayBegin whether anything may begin now
   * @returns undefined where there is nothing to do
   * @throws AssertionError where a newer job would begin before an older one
   */
  begin(contended: boolean, mayBegin: boolean): ApplyTask | undefined {
    const task = mayBegin ? this.#chooseTask(contended) : undefined;
    if (task === undefined) this.#stage.enter('resting');
    return task;
  }

  /** The task has left the thread. @returns its jobs, which are put back or settled before anything is awaited */
  leave(next: 'resting' | 'queued'): readonly LoadedJob[] {
    this.#stage.enter(next);
    return this.#parts.held.leaveThread();
  }

  #chooseTask(contended: boolean): ApplyTask | undefined {
    const { tenant, held, refusals, services } = this.#parts;
    held.assertOrder(tenant);
    const { lease } = this.#transaction;
    if (lease !== undefined) {
      const job = held.takeFollowUp();
      return job && this.#toStepsTask(job, { id: lease.id, expiresAt: lease.expiresAt });
    }
    if (held.ready.length === 0) return refusals.triesWithoutJobs ? this.#toTask('opening', []) : undefined;
    const batch = this.#chooseBatch(contended);
    const first = batch[0];
    if (first === undefined) return undefined;
    held.take(batch);
    if (!isStepsJobId(first.id)) return this.#toTask('batch', batch);
    const { transactionLimits } = services;
    const limits = first.doubtful ? limitsOfRedelivered(transactionLimits) : transactionLimits;
    return this.#toStepsTask(first, { id: newTransactionId(), expiresAt: firstExpiry(limits) });
  }

  #chooseBatch(contended: boolean): readonly LoadedJob[] {
    const loaded = this.#admitted(this.#parts.held.loadedFirst);
    const count = chooseBatch(
      loaded.map(job => ({ bytes: job.data.length, maxTogether: this.#maxTogether(job) })),
      { maxJobs: LIMITS.maxBatchJobs, maxBytes: contended ? SLICE_BYTES : MAX_READY_BYTES },
    );
    return loaded.slice(0, count);
  }

  /** The oldest was admitted. One that came since then may have to be refused, when it is the oldest. */
  #admitted(jobs: readonly LoadedJob[]): readonly LoadedJob[] {
    const { tenant, services } = this.#parts;
    const { replica } = services;
    if (!replica.refuses(tenant)) return jobs;
    const refused = jobs.findIndex((job, index) => index > 0 && isRefusable(replica, tenant, job));
    return refused === -1 ? jobs : jobs.slice(0, refused);
  }

  /** How many jobs may share its batch. Callers of a poisoned write are answered before the next may do the same harm. */
  #maxTogether({ id, crashCount }: HeldJob): number {
    const { poisoned } = this.#parts.services;
    return isStepsJobId(id) || poisoned.of(id) !== undefined ? 1 : poisoned.maxTogether(crashCount);
  }

  #toStepsTask(job: LoadedJob, transaction: TransactionGrant): ApplyTask {
    return { ...this.#toTask('steps', [job]), transaction };
  }

  #toTask(stage: 'batch' | 'steps' | 'opening', batch: readonly LoadedJob[]): ApplyTask {
    const { tenant, services } = this.#parts;
    this.#stage.enter(stage);
    this.#begunAt = performance.now();
    const oldest = batch[0];
    if (oldest !== undefined) {
      services.metrics.observe('prefetch', this.#queuedAt - oldest.fetchedAt);
      services.metrics.observe('lane', this.#begunAt - this.#queuedAt);
    }
    const jobs = batch.map(({ id, data, addedAt }): QueuedJob => {
      const poisoned = services.poisoned.of(id);
      return poisoned === undefined ? { id, data, addedAt } : { id, data, addedAt, poisoned };
    });
    const reads = this.#allowReads(batch);
    const task = { kind: 'apply', tenant, epoch: services.epoch(), jobs, ...(reads && { reads }) } as const;
    // Its callers wait for the replica: the commit is captured at once.
    return batch.some(({ id }) => services.replica.concerns(tenant, id)) ? { ...task, capture: true } : task;
  }

  #allowReads(batch: readonly LoadedJob[]): ReadAllowance | undefined {
    const { tenant, services } = this.#parts;
    const reads = batch.reduce((count, { id }) => count + Number(isReadJobId(id)), 0);
    const now = performance.now();
    if (reads < batch.length) services.readShare.wrote(now);
    if (reads === 0) return undefined;
    const ms = services.readShare.taskMs(tenant, now);
    const retryAfterMs = Math.ceil(Math.max(MIN_RETRY_MS, services.readShare.waitMs(tenant, now)));
    return { ms, retryAfterMs };
  }
}
