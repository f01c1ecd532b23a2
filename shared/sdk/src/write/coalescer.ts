import { OnewriterError } from '@onewriter/protocol';
import type { ClientMetrics } from '../client-metrics.ts';
import type { Alarm, Due } from '../settle/alarm.ts';
import { now } from '../waits.ts';
import type { Budget } from './budget.ts';
import { chooseWrites, FULL_JOB_WRITES, isSole } from './choose-writes.ts';
import { OutboundJob } from './outbound-job.ts';
import type { PendingWrite, WriteHolder } from './pending-write.ts';
import { QueueRoom } from './queue-room.ts';
import type { JobSender } from './sender.ts';
import type { WriteTracer } from './write-tracer.ts';

/*
 *          write              microtask                  accepted
 *   idle ─────────▶ gathering ─────────▶ sending a job ─────────▶ next job, or idle
 *                       ▲                 │   │   │
 *                       └──── unsent ─────┘   │   └─ refused: its callers get the error
 *                      (no connection)        └───── ambiguous: the same job again, until it is known to be in
 *                                                    or all its callers have gone
 *
 * One job of a tenant is being sent at a time, so jobs reach the queue in the order their writes were issued (G3),
 * and what is issued meanwhile goes together as the next job.
 *
 * A few writes that are issued while an earlier job is not settled wait for it, a millisecond or two at most: callers that
 * write in step then share a job, because a job of a few writes costs as much as one of all (ADR 0017). An
 * uncontended write never waits, nor does one whose caller waits for acceptance only.
 */

/** What a coalescer shares with its client. */
export interface CoalescerContext {
  readonly clientId: string;
  readonly sender: JobSender;
  readonly budget: Budget;
  readonly alarm: Alarm;
  /** Undefined where tracing is off. */
  readonly tracer: WriteTracer | undefined;
  readonly metrics: ClientMetrics;
  /** Short identity of the data directory that the client reads; undefined where it reads none. */
  readonly dir?: (() => string | undefined) | undefined;
  /** Called before a job is sent for the first time: its event may come before the queue's answer. */
  track(job: OutboundJob): void;
  /** Called when a job was certainly not accepted, or has no waiting caller any more. */
  forget(job: OutboundJob): void;
}

/** So many writes wait for no earlier job: they are worth a job of their own, made while that one is applied. */
const HALF_JOB_WRITES = FULL_JOB_WRITES / 2;
const MAX_GATHER_MS = 1;
/** Dead entries of the buffer are swept out when there are more than this, and more than living ones. */
const MIN_DEAD_ENTRIES = 64;

/** Gathers the writes of one client to one tenant into jobs, and sends these in order. */
export class Coalescer implements WriteHolder, Due {
  readonly tenant: string;
  dueAt = Number.POSITIVE_INFINITY;
  /** Jobs sent; the last job's `seq`. */
  seq: number;
  readonly #context: CoalescerContext;
  readonly #room: QueueRoom;
  #buffer: PendingWrite[] = [];
  /** Entries of the buffer that are not settled. */
  #buffered = 0;
  /** When the first of them was issued. */
  #issuedAt = 0;
  /** Writes not settled, buffered or sent. */
  #held = 0;
  /** Writes that wait for room. */
  #entering = 0;
  #running = false;
  /** A write is buffered that shall not wait. */
  #urgent = false;
  /** Ends the wait for an earlier job, while there is one. */
  #stopGathering: (() => void) | undefined;
  #closed: OnewriterError | undefined;
  /**
   * @param seq of the last job that this client sent to the tenant; 0 where there is none
   * @param followsUp its jobs continue an open transaction, and do not wait behind other jobs
   */
  constructor(tenant: string, context: CoalescerContext, seq = 0, followsUp = false) {
    this.tenant = tenant;
    this.#context = context;
    this.#room = new QueueRoom(tenant, context.sender, followsUp);
    this.seq = seq;
  }

  /** Writes that were not sent. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Writes that are not settled. */
  get held(): number {
    return this.#held;
  }

  /** Whether it can be dropped without losing anything but its `seq`. */
  get idle(): boolean {
    return !this.#running && this.#held === 0 && this.#entering === 0;
  }

  /**
   * Makes room for a write. Call before making it, and then {@link add} in the same turn.
   * @throws OnewriterError CLOSED, QUEUE_UNAVAILABLE, QUEUE_FULL, TENANT_OVERLOADED, BUFFER_FULL
   */
  admit(bytes: number): void {
    try {
      this.#admit(bytes);
    } catch (error) {
      this.#context.metrics.failed(error);
      throw error;
    }
  }

  /**
   * As {@link admit}, but waits where the client's buffer is full: for senders of many writes that have no caller to refuse.
   * Call {@link add} in the same turn in which this resolves; writes are let in in the order of the calls.
   * @throws OnewriterError as {@link admit}, BUFFER_FULL after `timeoutMs`; ABORTED
   */
  async admitWhenFree(
    bytes: number,
    wait: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const { budget, metrics } = this.#context;
    this.#entering++;
    try {
      this.#assertTakesWrites(bytes);
      await budget.takeWhenFree(this, bytes, () => this.#held++, wait);
      try {
        this.#assertTakesWrites(bytes);
      } catch (error) {
        this.#held--;
        budget.releaseBytes(this, bytes);
        budget.releaseOperation();
        throw error;
      }
    } catch (error) {
      metrics.failed(error);
      throw error;
    } finally {
      this.#entering--;
    }
  }

  #admit(bytes: number): void {
    this.#assertTakesWrites(bytes);
    this.#context.budget.take(this, bytes);
    this.#held++;
  }

  #assertTakesWrites(bytes: number): void {
    if (this.#closed) throw this.#closed;
    this.#room.assertFor(bytes);
  }

  /** Adds a write that was admitted; it leaves at the end of this turn of the event loop. */
  add(write: PendingWrite): void {
    if (this.#buffered === 0) this.#issuedAt = now();
    this.#buffer.push(write);
    this.#buffered++;
    if (write.waitsFor === 'acceptance' || isSole(write.payload)) this.#urgent = true;
    if (this.#isWorthAJob) this.#stopGathering?.();
    this.#noteDue(write.dueAt);
    this.#noteOutage();
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => void this.#run());
  }

  /** Refuses further writes, and those not sent yet. */
  close(error: OnewriterError): void {
    this.#closed = error;
    for (const write of this.#takeBuffer()) write.refuse(error);
  }

  onPayloadDropped(write: PendingWrite): void {
    this.#context.budget.releaseBytes(this, write.bytes);
  }

  onSettled(write: PendingWrite, error?: unknown): void {
    const { budget, metrics } = this.#context;
    this.#held--;
    budget.releaseOperation();
    // Reads are counted where their callers are.
    if (!write.isRead) {
      if (error === undefined) metrics.answered++;
      else metrics.failed(error);
    }
    if (write.job !== undefined) {
      if (this.#held === this.#buffered) this.#stopGathering?.();
      if (write.job.open === 0 && !write.isRead) metrics.observe('total', now() - write.job.issuedAt);
      return;
    }
    this.#buffered--;
    const dead = this.#buffer.length - this.#buffered;
    // Else a buffer that cannot be sent would grow with writes whose callers have gone.
    if (dead > MIN_DEAD_ENTRIES && dead > this.#buffered)
      this.#buffer = this.#buffer.filter(it => !it.settled);
    if (this.#buffered === 0) this.#unsetDue();
  }

  /** Deadlines of writes that were not sent. */
  onDue(time: number): void {
    const isOut = this.#room.isOut(time);
    this.dueAt = Number.POSITIVE_INFINITY;
    for (const write of [...this.#buffer]) {
      if (write.settled) continue;
      if (isOut) write.refuse(this.#room.unavailable());
      else if (write.dueAt <= time) write.refuse(this.#room.late());
      else this.dueAt = Math.min(this.dueAt, write.dueAt);
    }
    // A time left here while nothing is buffered would keep the next write's deadline from the alarm.
    if (this.#buffered === 0) this.#unsetDue();
    else this.dueAt = Math.min(this.dueAt, this.#room.outageEndsAt ?? Number.POSITIVE_INFINITY);
  }

  async #run(): Promise<void> {
    let gathers = true;
    for (let attempt = 0; this.#buffered > 0; ) {
      if (gathers) await this.#gather();
      // All of them had their answers meanwhile.
      if (this.#buffered === 0) break;
      const job = this.#assemble();
      // What did not fit into this one need not wait for it.
      gathers = this.#buffered === 0;
      if (job === undefined || (await this.#deliver(job))) attempt = 0;
      else if (this.#buffered > 0) await this.#context.sender.readyToRetry(attempt++);
    }
    this.#running = false;
  }

  /** Whether what is buffered waits for no earlier job. */
  get #isWorthAJob(): boolean {
    return this.#urgent || this.#buffered >= HALF_JOB_WRITES;
  }

  /** Waits for earlier jobs to be settled, and for what their callers write then. */
  async #gather(): Promise<void> {
    if (this.#held === this.#buffered || this.#isWorthAJob) return;
    await new Promise<void>(resolve => {
      const stop = () => {
        this.#stopGathering = undefined;
        clearTimeout(timer);
        // Behind all that the settled callers do at once.
        setImmediate(resolve);
      };
      const timer = setTimeout(stop, MAX_GATHER_MS);
      this.#stopGathering = stop;
    });
  }

  /** @returns whether the next job may go at once; if not, the job's writes are buffered again */
  async #deliver(job: OutboundJob): Promise<boolean> {
    const { sender } = this.#context;
    const full = this.#room.redisFull;
    if (full !== undefined) return this.#refuse(job, full);
    this.#context.track(job);
    let maybeSent = false;
    for (let attempt = 0; ; attempt++) {
      const outcome = await sender.send(job);
      if (outcome.kind === 'accepted') {
        this.#context.tracer?.accept(job);
        this.#room.noteAccepted(outcome.depth);
        if (outcome.isSync) job.waitsForReplica = true;
        const acceptedAt = now();
        if (!job.isRead) this.#context.metrics.observe('enqueue', acceptedAt - job.madeAt);
        job.accept(acceptedAt);
        this.#context.alarm.check();
        return true;
      }
      this.#noteOutage();
      if (outcome.kind === 'overloaded') this.#room.noteOverload(outcome.queuedBytes);
      if (outcome.kind === 'ambiguous') maybeSent = true;
      else if (!maybeSent) {
        this.#context.forget(job);
        if (outcome.kind === 'overloaded') return this.#refuseAll(job);
        return outcome.kind === 'refused'
          ? this.#refuse(job, outcome.error)
          : this.#takeBack(job, outcome.cause);
      }
      // It may be in the queue. Sent again under the same id it is accepted once, and if it was applied meanwhile the
      // ledger knows it. Later jobs wait, or they would overtake it.
      if (this.#isDone(job)) break;
      await sender.readyToRetry(attempt);
      if (this.#isDone(job)) break;
    }
    for (const write of job.writes) write.dropPayload();
    return true;
  }

  #refuse(job: OutboundJob, error: OnewriterError): true {
    this.#room.noteRefused();
    for (const write of job.dissolve()) this.#refuseUnbuffered(write, error);
    return true;
  }

  /** A job that was too much also refuses what was issued behind it: the queue is no emptier a moment later. */
  #refuseAll(job: OutboundJob): true {
    const error = this.#room.tooManyBytes();
    this.#refuse(job, error);
    for (const write of this.#takeBuffer()) write.refuse(error);
    return true;
  }

  /** Whether all its callers have their answers, or it turned out to have been accepted. */
  #isDone(job: OutboundJob): boolean {
    if (job.acceptedAt !== undefined) return true;
    if (job.open > 0) return false;
    this.#context.forget(job);
    return true;
  }

  /** The job did not go: its writes are the first to go with the next one. */
  #takeBack(job: OutboundJob, cause: unknown): boolean {
    this.seq--;
    const writes = job.dissolve();
    const error = this.#closed ?? this.#room.notNowTooLong(cause);
    if (error) {
      for (const write of writes) this.#refuseUnbuffered(write, error);
      return true;
    }
    this.#buffer = [...writes, ...this.#buffer];
    this.#buffered += writes.length;
    for (const write of writes) this.#noteDue(write.dueAt);
    this.#noteOutage();
    return false;
  }

  /** A write that is in neither buffer nor job. */
  #refuseUnbuffered(write: PendingWrite, error: OnewriterError): void {
    this.#buffered++; // onSettled subtracts it again
    write.refuse(error);
  }

  /** The next job; undefined where it cannot be made, and its callers have the error. */
  #assemble(): OutboundJob | undefined {
    const { writes, taken, passed = [] } = chooseWrites(this.#buffer);
    this.#buffer = taken === this.#buffer.length ? passed : [...passed, ...this.#buffer.slice(taken)];
    this.#buffered -= writes.length;
    this.#urgent = false;
    if (this.#buffered === 0) this.#unsetDue();
    try {
      const { clientId, tracer, metrics, dir } = this.#context;
      const job = new OutboundJob(clientId, this.tenant, ++this.seq, writes, tracer?.depart(writes), dir?.());
      job.issuedAt = this.#issuedAt;
      if (!job.isRead) metrics.observe('coalesce', job.madeAt - job.issuedAt);
      metrics.jobs++;
      metrics.jobBytes += job.size;
      return job;
    } catch (cause) {
      const error = new OnewriterError(
        'INTERNAL',
        'The job could not be made.',
        { tenant: this.tenant },
        cause,
      );
      for (const write of writes) this.#refuseUnbuffered(write, error);
      return undefined;
    }
  }

  #takeBuffer(): PendingWrite[] {
    return this.#buffer.filter(write => !write.settled);
  }

  #unsetDue(): void {
    this.dueAt = Number.POSITIVE_INFINITY;
    this.#context.alarm.remove(this);
  }

  #noteDue(at: number): void {
    if (at >= this.dueAt) return;
    this.dueAt = at;
    this.#context.alarm.set(this);
  }

  /** While there is no connection, what is buffered is looked at when the grace ends. */
  #noteOutage(): void {
    const endsAt = this.#room.outageEndsAt;
    if (endsAt !== undefined && this.#buffered > 0) this.#noteDue(endsAt);
  }
}
