import type { AppliedOutcome, RefusedOutcome } from '@onewriter/writer';
import type { TenantLoad } from '../../observe/status/tenant-load.ts';
import { chooseRefused, mayRecover } from './batch-retry.ts';
import type { BatchTimes, Completion } from './completion.ts';
import type { HeldJob, LoadedJob } from './held-job.ts';
import type { OpenTransaction } from './open-transaction.ts';
import type { SessionParts } from './session-parts.ts';

/** Between two looks whether a file is here whose callers were answered. */
const WAKING_PAUSE_MS = 500;

/** What the session does for it. */
export interface OutcomesOptions {
  readonly completion: Completion;
  readonly transaction: OpenTransaction;
  readonly figures: TenantLoad;
  /** Gets in line for the next batch, if there is one. */
  readonly enqueue: () => void;
}

/** What follows when a task has left the thread. */
export class Outcomes {
  readonly #parts: SessionParts;
  readonly #options: OutcomesOptions;

  constructor(parts: SessionParts, options: OutcomesOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** The batch is committed. @param batch without jobs: the file can be opened */
  onApplied(
    batch: readonly LoadedJob[],
    outcome: AppliedOutcome,
    begun: Omit<BatchTimes, 'committedAt'>,
  ): void {
    const { tenant, services, held, facts, refusals, pump } = this.#parts;
    const { completion, transaction, enqueue } = this.#options;
    refusals.clear();
    services.parked.release(tenant);
    if (batch.length === 0) {
      pump();
      return;
    }
    held.settle(batch);
    // Requeued jobs are the oldest, so all of them are fetched by now. A reclaim without memory for a fetch only says that there may be more.
    const isAll = facts.waiting === 0 && !facts.mayHaveMore && held.ready.length === 0;
    if (facts.doubtUntil > 0 && isAll) this.#clearDoubt();
    this.#note(batch, outcome, begun.begunAt);
    services.walWatch.observe(tenant, outcome.stats.walBytes);
    services.afterCommit();
    const times = { ...begun, committedAt: performance.now() };
    if (outcome.open !== undefined || transaction.isOpen) transaction.note(outcome, batch);
    // The next batch first: the thread works while callers are answered.
    enqueue();
    completion.complete(batch, outcome, times).catch(services.onBug);
  }

  /** Nothing of the batch is committed, as far as known. */
  async onRefused(batch: readonly LoadedJob[], refusal: RefusedOutcome): Promise<void> {
    const { tenant, services, held, decide } = this.#parts;
    const { transaction } = this.#options;
    const { error, uncertain, begun } = refusal;
    // Whatever refused it, the transaction is rolled back, or its connection is closed.
    transaction.end();
    services.metrics.refused(error.code);
    held.putBack(uncertain && begun ? asDoubtful(batch) : batch);
    if (error.code === 'FENCED') {
      await decide(() => services.onFenced(tenant, error));
      return;
    }
    if (error.code === 'TENANT_WAKING') {
      await decide(() => this.#wake(batch, refusal));
      return;
    }
    await this.#refuse(batch, refusal);
  }

  /** Its file comes from the replica; then the batch is tried again. */
  async #wake(batch: readonly LoadedJob[], refusal: RefusedOutcome): Promise<void> {
    const { tenant, services, held, refusals, isDraining } = this.#parts;
    const failure = await services.waker.wake(tenant);
    // What was held is requeued.
    if (failure === undefined || isDraining()) return;
    if (failure.code !== 'TENANT_WAKING') {
      await this.#refuse(batch, { ...refusal, error: failure });
      return;
    }
    // It is still on its way.
    refusals.pauseFor(WAKING_PAUSE_MS);
    await this.#options.completion.fail(chooseRefused(held.ready, batch, refusal), failure);
  }

  async #refuse(batch: readonly LoadedJob[], refusal: RefusedOutcome): Promise<void> {
    const { tenant, services, held, refusals } = this.#parts;
    const { completion } = this.#options;
    const { error, uncertain, begun } = refusal;
    if (batch.length === 0 && error.code === 'TENANT_NOT_FOUND') services.parked.release(tenant);
    if (refusals.note() === 1) {
      services.log.warn(
        { tenant, code: error.code, uncertain },
        `The tenant refused a batch: ${error.message}`,
      );
    }
    if (mayRecover(refusal) && !refusals.isParked) {
      this.#pause();
      return;
    }
    // Callers of jobs that may be committed are answered only after the ledger could be asked.
    const failed = chooseRefused(held.ready, batch, refusal);
    const isKept = batch.some(({ id }) => !failed.some(job => job.id === id));
    if (mayRecover(refusal) || isKept || error.code === 'DATABASE_CORRUPT') {
      refusals.park();
      refusals.triesWithoutJobs = !begun;
      services.parked.park(tenant, error);
      if (isKept || !begun) this.#pause();
    } else refusals.triesWithoutJobs = false;
    await completion.fail(failed, error);
  }

  /** The thread ended. @param wasRunning false: it could not start, or ended with another tenant's batch */
  onFault(batch: readonly LoadedJob[], error: Error, wasRunning: boolean): void {
    const { tenant, services, held, decide } = this.#parts;
    this.#options.transaction.end();
    services.log.error(
      { err: error, tenant, jobs: batch.map(job => job.id) },
      'The writer thread ended in the middle of a batch; the batch will be redelivered',
    );
    held.putBack(asDoubtful(batch));
    this.#pause();
    if (wasRunning) decide(() => this.#countCrash(batch)).catch(services.onBug);
  }

  /** A job that ended its thread counts like one that ended the process. */
  async #countCrash(batch: readonly HeldJob[]): Promise<void> {
    const { services, held } = this.#parts;
    const crashCounts = await services.poisoned.countCrash(batch.map(job => job.id));
    const known = new Map(batch.map((job, index) => [job.id, crashCounts[index] ?? job.crashCount]));
    held.update(job => {
      const crashCount = known.get(job.id) ?? job.crashCount;
      return crashCount === job.crashCount ? job : { ...job, crashCount };
    });
  }

  /** The ledger can answer for every job now. */
  #clearDoubt(): void {
    const { services, queue, facts } = this.#parts;
    facts.doubtUntil = 0;
    const mark = queue.doubtMark;
    services.link.retryUntilDone(() => queue.forgetDoubt(mark)).catch(services.onBug);
  }

  /** Waits before the next try. */
  #pause(): void {
    const { held, refusals, isDraining } = this.#parts;
    if (isDraining()) return;
    if (refusals.isParked) held.unload();
    refusals.pause();
  }

  #note(batch: readonly HeldJob[], outcome: AppliedOutcome, begunAt: number): void {
    const { metrics, readShare } = this.#parts.services;
    const { openMs, applyMs, commitMs, flushMs = 0, walBytes } = outcome.stats;
    readShare.note(this.#parts.tenant, outcome, performance.now());
    const inThreadMs = openMs + applyMs + commitMs;
    metrics.observe('handover', performance.now() - begunAt - inThreadMs - flushMs);
    const { writes, failures } = metrics.applied(outcome);
    const now = Date.now();
    let longestMs = 0;
    for (const { enqueuedAt } of batch) {
      if (enqueuedAt === undefined) continue;
      const delayMs = now - enqueuedAt;
      metrics.delay.observe(delayMs);
      if (delayMs > longestMs) longestMs = delayMs;
    }
    this.#options.figures.add(writes, failures, inThreadMs, longestMs, walBytes);
  }
}

function asDoubtful(batch: readonly LoadedJob[]): readonly LoadedJob[] {
  return batch.map(job => ({ ...job, doubtful: true }));
}
