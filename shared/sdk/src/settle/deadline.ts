import { LIMITS } from '@onewriter/protocol';
import { describeHolder, type TenantHolder } from '@onewriter/tenants';
import type { SdkLogger } from '../types.ts';
import { now } from '../waits.ts';
import type { OutboundJob } from '../write/outbound-job.ts';
import type { WriteTracer } from '../write/write-tracer.ts';
import type { Alarm, Due } from './alarm.ts';
import type { JobState, JobStates } from './job-states.ts';
import { ABSENT, type LedgerAnswer, type LedgerReader } from './ledger.ts';
import type { LookTime } from './look-time.ts';

/*
 * When a job that is on its way is looked after, and what its callers hear at their deadline: what a last look in the ledger finds,
 * else OUTCOME_UNKNOWN. What is found is flushed without blocking the event loop, because a disk may be slow; at a deadline the
 * flush is waited for only briefly, so that the caller is answered in time.
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

/** How long after the deadline a flush of what the last look found may take; with the loop's own delays that stays below 100. */
export const MAX_LAST_FLUSH_MS = 50;

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

/** A job, and when to look after it. */
export class TrackedJob implements Due {
  readonly job: OutboundJob;
  dueAt = 0;
  /** Checks in a row that found it neither in the queue nor in the ledger. */
  missing = 0;
  /** Its event has come, without the results. */
  isAnswered = false;
  /** What the answer says of the replica, see SettledEvent; undefined while that is not known. */
  replicatedAt: number | undefined;
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

  /** The ledger has commits that the replica does not have: what it says is no answer yet. */
  get waitsForReplica(): boolean {
    return this.job.waitsForReplica && this.replicatedAt === undefined;
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
    if (this.job.isRead || this.waitsForReplica) {
      andThen();
      return;
    }
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
      const answer =
        this.job.isRead || this.waitsForReplica
          ? undefined
          : looks.spend(() => ledger.lookNow(this.job.tenant, this.job.id));
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

  /** The same by whatever way there is, without holding anything up; undefined where that fails. @param state of the job */
  async askLedger(state: JobState | undefined): Promise<LedgerAnswer | undefined> {
    if (this.job.isRead) return ABSENT;
    // Where its event has come, Redis just does not say yet that it is finished.
    if (this.#context.ledger.isQueued && state === 'queued' && !this.isAnswered) return undefined;
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
    this.job.finish(answer.results, answer.commitSeq, now(), this.replicatedAt);
  }

  #earliestDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const write of this.job.writes) if (!write.settled) earliest = Math.min(earliest, write.dueAt);
    return earliest;
  }
}
