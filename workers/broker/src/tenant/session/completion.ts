import { isStepsJobId, type WireError } from '@onewriter/protocol';
import type { AppliedOutcome, JobOutcome } from '@onewriter/writer';
import type { FinishedBatch } from '../../observe/finished-batch.ts';
import type { Settlement } from '../../queue/inbox-events.ts';
import type { FinishedJob } from '../../queue/tenant-queue.ts';
import { setLettersAside } from './batch-letters.ts';
import { toFinishedJob } from './finished-record.ts';
import { clientOf, freeMemory, type HeldJob, type LoadedJob, unloaded } from './held-job.ts';
import type { SessionParts } from './session-parts.ts';

/*
 * What follows a commit:
 *
 *   committed ──▶ acknowledged to its callers ──with the next fetch, or a moment later──▶ finished in Redis
 *        ├── failures, steps, crash counts ──▶ cleaned up, then acknowledged and finished at once
 *        └── callers wait for the replica ──▶ cleaned up ──stored, or not in time──▶ acknowledged and finished at once
 *
 * Until a job is finished in Redis a successor would find it active, and in the ledger. A job that fails leaves the queue before
 * its caller is answered: in the other order a crash in between would redeliver a job whose caller believes that it failed.
 */

/** How long finished jobs of a busy tenant wait for the next fetch, at most. */
export const FINISH_AFTER_MS = 10;

export type BatchTimes = Pick<FinishedBatch, 'queuedAt' | 'begunAt' | 'committedAt'>;

/** What the session does for it. */
export interface CompletionOptions {
  /** Whether the fetch that is under way, or has to be repeated first, makes a finish of its own needless or too early. */
  readonly mustWaitForFetch: () => boolean;
  /** Calls {@link Completion.finishAnswered} soon, together with those of other sessions. */
  readonly finishSoon: () => void;
}

/** Answers the callers of a tenant's batches, and finishes their jobs in Redis. */
export class Completion {
  readonly #parts: SessionParts;
  readonly #options: CompletionOptions;
  /** Batches that are committed and not acknowledged, or being finished in Redis. */
  #underWay = 0;
  /** Jobs that are committed and acknowledged, and still active in Redis. */
  readonly #unfinished: FinishedJob[] = [];
  /** Jobs that are committed, active in Redis, and wait for the replica. */
  readonly #waiting = new Set<string>();
  /** On the monotonic clock, ms. */
  #answeredAt = Number.NEGATIVE_INFINITY;

  constructor(parts: SessionParts, options: CompletionOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  get isUnderWay(): boolean {
    return this.#underWay > 0;
  }

  /** Jobs that are committed and acknowledged, and still active in Redis. */
  get unfinished(): readonly FinishedJob[] {
    return this.#unfinished;
  }

  /** Jobs that are committed, active in Redis, and wait for the replica. */
  get waiting(): ReadonlySet<string> {
    return this.#waiting;
  }

  /** Removes them: the caller finishes them. */
  takeUnfinished(): readonly FinishedJob[] {
    return this.#unfinished.splice(0);
  }

  /** They were not finished. */
  putBackUnfinished(jobs: readonly FinishedJob[]): void {
    this.#unfinished.unshift(...jobs);
  }

  /** After the commit: answers the clients, and has the jobs finished. */
  async complete(batch: readonly LoadedJob[], applied: AppliedOutcome, times: BatchTimes): Promise<void> {
    const { tenant, services, proceed } = this.#parts;
    const { jobs: outcomes, stats, incarnation } = applied;
    this.#underWay++;
    try {
      const waiting = services.replica.chooseWaiting(tenant, outcomes);
      if (waiting === undefined) await this.#answer(batch, outcomes);
      else await this.#answerSomeLater(batch, outcomes, waiting, incarnation);
      const finishedAt = performance.now();
      services.metrics.observe('completion', finishedAt - times.committedAt);
      for (const observer of services.observers) {
        observer.observe({ tenant, jobs: batch, outcomes, stats, ...times, finishedAt });
      }
    } finally {
      for (const job of batch) freeMemory(job);
      this.#underWay--;
      proceed();
    }
  }

  async #answer(batch: readonly LoadedJob[], outcomes: readonly JobOutcome[]): Promise<void> {
    const { tenant } = this.#parts;
    const settlements = outcomes.map(outcome => ({ ...outcome, jobId: outcome.id, tenant }));
    const finished = outcomes.map(outcome => toFinishedJob(outcome));
    if (this.#canWait(batch, outcomes)) await this.#acknowledge(settlements, finished);
    else await this.#finishNow(batch, outcomes, settlements, finished);
  }

  /** Answers the jobs that wait for nothing; the others keep nothing but their answers. */
  async #answerSomeLater(
    batch: readonly LoadedJob[],
    outcomes: readonly JobOutcome[],
    waiting: ReadonlySet<string>,
    incarnation: string,
  ): Promise<void> {
    const { services } = this.#parts;
    const now = outcomes.filter(({ id }) => !waiting.has(id));
    const later = outcomes.filter(({ id }) => waiting.has(id));
    for (const { id } of later) this.#waiting.add(id);
    const jobs = batch.filter(({ id }) => waiting.has(id));
    if (now.length > 0) {
      await this.#answer(
        batch.filter(({ id }) => !waiting.has(id)),
        now,
      );
    }
    await this.#cleanUp(jobs, later);
    const crashed = jobs.filter(job => services.poisoned.knows(job)).map(unloaded);
    this.#answerWhenStored(later, crashed, incarnation).catch(services.onBug);
  }

  async #answerWhenStored(
    outcomes: readonly JobOutcome[],
    crashed: readonly HeldJob[],
    incarnation: string,
  ): Promise<void> {
    const { tenant, services, queue, proceed } = this.#parts;
    const { inbox, link, poisoned, replica } = services;
    const replicatedAt = await replica.whenStored(tenant, outcomes, incarnation);
    const settlements = outcomes.map(outcome => ({ ...outcome, jobId: outcome.id, tenant, replicatedAt }));
    const finished = outcomes.map(outcome => toFinishedJob(outcome, replicatedAt));
    this.#underWay++;
    try {
      await link.retryUntilDone(() => {
        void inbox.publish(settlements);
        link.expedite();
        return queue.finish(finished, undefined);
      });
      await poisoned.forget(crashed);
    } finally {
      for (const { id } of outcomes) this.#waiting.delete(id);
      this.#underWay--;
      proceed();
    }
  }

  /** Finishes in Redis the acknowledged jobs that no fetch has finished. @throws Error of Redis */
  async finishAnswered(): Promise<void> {
    if (this.#unfinished.length === 0) return;
    if (this.#options.mustWaitForFetch()) this.#options.finishSoon();
    else await this.finishUnfinished();
  }

  /** The same, whatever else is under way. @throws Error of Redis */
  async finishUnfinished(): Promise<void> {
    const { services, queue, proceed } = this.#parts;
    const finished = this.takeUnfinished();
    this.#underWay++;
    try {
      await services.link.retryUntilDone(() => queue.finish(finished, undefined));
    } finally {
      this.#underWay--;
      proceed();
    }
  }

  /**
   * Fails jobs of which nothing is committed. Until they have left the queue they keep their places: one that cannot be failed,
   * because its lock is not this broker's, is read again and begins before later ones.
   * @param jobs that are ready
   */
  async fail(jobs: readonly HeldJob[], error: WireError): Promise<void> {
    const { tenant, services, decide, pump, proceed } = this.#parts;
    if (jobs.length === 0) {
      pump();
      return;
    }
    this.#underWay++;
    try {
      const failed = await decide(() => this.#failInQueue(jobs, error));
      await services.inbox.publish(
        failed.map(job => ({
          jobId: job.id,
          client: clientOf(job),
          tenant,
          commitSeq: 0,
          results: '',
          error,
        })),
      );
      await services.poisoned.forget(failed);
    } finally {
      this.#underWay--;
      proceed();
    }
  }

  /** @returns the jobs that left the queue, and are no longer held. */
  async #failInQueue(jobs: readonly HeldJob[], error: WireError): Promise<readonly HeldJob[]> {
    const { services, queue, held, facts } = this.#parts;
    const value = `${error.code}: ${error.message}`;
    const finished = jobs.map(({ id }) => ({ id, state: 'failed' as const, value }));
    const { refused } = await services.link.retryUntilDone(() => queue.finish(finished, undefined));
    if (refused.length > 0) facts.isStale = true;
    const failed = new Set(jobs.map(({ id }) => id).filter(id => !refused.includes(id)));
    held.remove(failed);
    return jobs.filter(({ id }) => failed.has(id));
  }

  /** Whether nothing but the jobs themselves has to be cleaned up. */
  #canWait(batch: readonly HeldJob[], outcomes: readonly JobOutcome[]): boolean {
    const { services, held } = this.#parts;
    return (
      !held.inTransaction &&
      !isStepsJobId(batch[0]!.id) &&
      !batch.some(job => services.poisoned.knows(job)) &&
      outcomes.every(({ error, deadLetters }) => error === undefined && deadLetters === undefined)
    );
  }

  async #acknowledge(settlements: readonly Settlement[], finished: readonly FinishedJob[]): Promise<void> {
    const { services, pump } = this.#parts;
    const { inbox, link } = services;
    this.#unfinished.push(...finished);
    const publishing = inbox.publish(settlements);
    link.expedite();
    // The next jobs, if any wait; the fetch finishes these.
    pump();
    if (this.#unfinished.length > 0) {
      const sinceMs = performance.now() - this.#answeredAt;
      // A tenant that was answered just now is likely to have more.
      if (sinceMs < FINISH_AFTER_MS) this.#options.finishSoon();
      else this.finishAnswered().catch(services.onBug);
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
    const { services, queue } = this.#parts;
    const { inbox, link, poisoned } = services;
    await this.#cleanUp(batch, outcomes);
    await link.retryUntilDone(() => {
      // Callers are answered first.
      void inbox.publish(settlements);
      link.expedite();
      return queue.finish(finished, undefined);
    });
    await poisoned.forget(batch);
  }

  /** What has to be in Redis before the jobs are gone. */
  async #cleanUp(batch: readonly LoadedJob[], outcomes: readonly JobOutcome[]): Promise<void> {
    const { tenant, services } = this.#parts;
    const { poisoned, offenders, onHeld } = services;
    // Counted before the job is gone; a crash in between counts it twice.
    const isPoisoned = batch.some(({ id }) => poisoned.of(id)?.[-1]?.code === 'POISON_JOB');
    if (isPoisoned && (await offenders.notePoison(tenant))) onHeld(tenant);
    // Before the job is gone: after a crash in between it is redelivered, and its letters get the same ids.
    await setLettersAside(tenant, batch, outcomes, services);
  }
}
