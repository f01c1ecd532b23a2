import { isOnewriterError, OnewriterError, type WireOperationResult } from '@onewriter/protocol';
import { describeHolder } from '@onewriter/tenants';
import { ClientMetrics } from '../client-metrics.ts';
import type { DataDirGuard } from '../redis/data-dir-guard.ts';
import { Alarm } from '../settle/alarm.ts';
import { decodeRun, withReplica } from '../settle/decode-result.ts';
import type { JobStates } from '../settle/job-states.ts';
import type { LedgerReader } from '../settle/ledger.ts';
import type { Presence } from '../settle/presence.ts';
import { Settler } from '../settle/settler.ts';
import type { RunResult, SdkLogger, WaitOptions } from '../types.ts';
import { assertNotAborted, dueAt, now, untilDue } from '../waits.ts';
import { Budget } from './budget.ts';
import { Coalescer, type CoalescerContext } from './coalescer.ts';
import type { EncodedWrite } from './encoded-write.ts';
import { PendingWrite, type WaitsFor } from './pending-write.ts';
import type { JobSender } from './sender.ts';
import type { AnsweredWrite, WriteCaller } from './write-caller.ts';
import type { WriteTracer } from './write-tracer.ts';

/** What the write path needs. */
export interface WritePathContext {
  readonly clientId: string;
  readonly sender: JobSender;
  readonly states: JobStates;
  readonly ledger: LedgerReader;
  readonly logger: SdkLogger;
  readonly writeTimeoutMs: number;
  /** Undefined where tracing is off. */
  readonly tracer?: WriteTracer | undefined;
  readonly metrics?: ClientMetrics | undefined;
  /** Kept while requests may leave transactions open. */
  readonly presence?: Pick<Presence, 'keep'> | undefined;
  /** Undefined where the client reads no files. */
  readonly guard?: Pick<DataDirGuard, 'dir' | 'assertOwn'> | undefined;
}

/** What a write came to. */
export interface WriteAnswer {
  /** undefined where only acceptance was waited for. */
  readonly result: WireOperationResult | undefined;
  readonly commitSeq: number;
  readonly receipt: string;
  readonly replicatedAt?: number | undefined;
  readonly waitsForReplica?: boolean | undefined;
}

/** A request that may begin a transaction is withdrawn this long before its deadline, if it has not begun. */
const MAX_WITHDRAW_MARGIN_MS = 500;
/** Tenants whose coalescer is kept while it has nothing to do. */
const MAX_IDLE_COALESCERS = 10_000;

/** From a caller's write to its answer: one coalescer per tenant, one settler for all. */
export class WritePath {
  readonly settler: Settler;
  readonly #context: WritePathContext;
  readonly metrics: ClientMetrics;
  readonly #alarm = new Alarm();
  readonly #budget = new Budget();
  readonly #coalescers = new Map<string, Coalescer>();
  readonly #coalescerContext: CoalescerContext;
  /** A coalescer that was dropped may have counted this far: a new one continues from here, never backwards. */
  #droppedSeq = 0;
  #closed: OnewriterError | undefined;

  constructor(context: WritePathContext) {
    this.#context = context;
    this.metrics = context.metrics ?? new ClientMetrics();
    const { states, ledger, logger, tracer, guard } = context;
    this.settler = new Settler({ states, ledger, logger, tracer, alarm: this.#alarm });
    this.#coalescerContext = {
      clientId: context.clientId,
      sender: context.sender,
      budget: this.#budget,
      alarm: this.#alarm,
      tracer,
      metrics: this.metrics,
      dir: guard && (() => guard.dir),
      track: job => this.settler.track(job),
      forget: job => this.settler.forget(job),
    };
  }

  get heldBytes(): number {
    return this.#budget.bytes;
  }

  /** Writes that were not sent. */
  get buffered(): number {
    let buffered = 0;
    for (const coalescer of this.#coalescers.values()) buffered += coalescer.buffered;
    return buffered;
  }

  /**
   * Sends a write. It takes its place in the order before this returns.
   * @throws OnewriterError by rejection; see Statement.run
   */
  send(
    tenant: string,
    payload: EncodedWrite,
    waitsFor: WaitsFor,
    options: WaitOptions,
  ): Promise<WriteAnswer> {
    return new Promise((resolve, reject) => {
      this.#send(tenant, payload, waitsFor, options, {
        resolve: (result, commitSeq, write) => resolve(toAnswer(result, commitSeq, write)),
        reject,
      });
    });
  }

  /**
   * As {@link send} with 'commit', but where the client's buffer is full it waits for room until the deadline. Writes of one
   * tenant that are sent so keep the order of their calls.
   */
  async sendWhenFree(tenant: string, payload: EncodedWrite, options: WaitOptions): Promise<WriteAnswer> {
    if (this.#closed) throw this.#closed;
    this.#context.guard?.assertOwn();
    assertNotAborted(options.signal);
    const due = dueAt(options, this.#context.writeTimeoutMs);
    const coalescer = this.#coalescer(tenant);
    const { signal } = options;
    await coalescer.admitWhenFree(bytesOf(payload), { timeoutMs: due - now(), signal });
    return new Promise((resolve, reject) => {
      this.#add(coalescer, payload, 'commit', due, options, {
        resolve: (result, commitSeq, write) => resolve(toAnswer(result, commitSeq, write)),
        reject,
      });
    });
  }

  /**
   * Sends a read to the owner of the file. It takes its place behind the writes before this returns.
   * @throws OnewriterError by rejection; OUTCOME_UNKNOWN where no answer came
   */
  read(
    tenant: string,
    payload: EncodedWrite,
    due: number,
    signal: AbortSignal | undefined,
  ): Promise<WriteAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw this.#closed;
      this.#context.guard?.assertOwn();
      const coalescer = this.#coalescer(tenant);
      coalescer.admit(bytesOf(payload));
      const caller: WriteCaller = {
        resolve: (result, commitSeq, write) => resolve(toAnswer(result, commitSeq, write)),
        reject: error => {
          const { job } = read;
          // Else reads that no caller waits for would fill the queue of a tenant whose broker is away, and writes be refused.
          if (job?.open === 0 && isOnewriterError(error, 'OUTCOME_UNKNOWN')) {
            void this.#context.sender.withdraw(job);
          }
          reject(error);
        },
      };
      const read = new PendingWrite(payload, 'commit', due, signal, caller, coalescer);
      coalescer.add(read);
    });
  }

  /** As {@link send} with 'commit', for the many small writes: no promise and no object but the result's own. */
  run(tenant: string, payload: EncodedWrite, options: WaitOptions): Promise<RunResult> {
    return new Promise((resolve, reject) => {
      this.#send(tenant, payload, 'commit', options, new RunCaller(resolve, reject));
    });
  }

  /** @throws OnewriterError if it is not accepted; any later result goes to the caller. */
  #send(
    tenant: string,
    payload: EncodedWrite,
    waitsFor: WaitsFor,
    options: WaitOptions,
    caller: WriteCaller,
  ): void {
    if (this.#closed) throw this.#closed;
    this.#context.guard?.assertOwn();
    assertNotAborted(options.signal);
    const due = dueAt(options, this.#context.writeTimeoutMs);
    const coalescer = this.#coalescer(tenant);
    coalescer.admit(bytesOf(payload));
    this.#add(coalescer, payload, waitsFor, due, options, caller);
  }

  /** Adds a write that was admitted. */
  #add(
    coalescer: Coalescer,
    payload: EncodedWrite,
    waitsFor: WaitsFor,
    due: number,
    { signal }: WaitOptions,
    caller: WriteCaller,
  ): void {
    const trace = this.#context.tracer?.begin(coalescer.tenant, payload, caller);
    if (trace === undefined) {
      coalescer.add(new PendingWrite(payload, waitsFor, due, signal, caller, coalescer));
      return;
    }
    const write = new PendingWrite(payload, waitsFor, due, signal, trace, coalescer);
    write.trace = trace;
    coalescer.add(write);
  }

  /**
   * Sends a request of steps. Those of an open transaction do not wait behind the tenant's other writes; requests of one
   * transaction keep their order. One that may begin a transaction and has not begun shortly before the deadline is
   * withdrawn: TRANSACTION_BUSY.
   * @param waitsForRoom where the client's buffer is full; else it is refused
   */
  async sendSteps(
    tenant: string,
    payload: EncodedWrite,
    transaction: string | undefined,
    options: WaitOptions,
    waitsForRoom = false,
  ): Promise<WriteAnswer> {
    if (this.#closed) throw this.#closed;
    this.#context.guard?.assertOwn();
    assertNotAborted(options.signal);
    const timeoutMs = options.timeoutMs ?? this.#context.writeTimeoutMs;
    const due = dueAt(options, timeoutMs);
    const coalescer =
      transaction === undefined
        ? this.#coalescer(tenant)
        : this.#coalescer(`${tenant}/${transaction}`, tenant);
    // Without a wait it takes its place in the order before this returns.
    if (waitsForRoom) await coalescer.admitWhenFree(bytesOf(payload), { timeoutMs, signal: options.signal });
    else coalescer.admit(bytesOf(payload));
    return new Promise((resolve, reject) => {
      if (payload.live) this.#context.presence?.keep();
      let timer: NodeJS.Timeout | undefined;
      const caller: WriteCaller = {
        resolve: (result, commitSeq, write) => {
          clearTimeout(timer);
          resolve(toAnswer(result, commitSeq, write));
        },
        reject: error => {
          clearTimeout(timer);
          // Otherwise a transaction might begin that no client ends.
          const { job } = write;
          if (payload.alone === 'b' && job !== undefined) void this.#context.sender.withdraw(job);
          reject(error);
        },
      };
      const trace = this.#context.tracer?.begin(tenant, payload, caller);
      const write = new PendingWrite(payload, 'commit', due, options.signal, trace ?? caller, coalescer);
      if (trace !== undefined) write.trace = trace;
      if (payload.alone === 'b') {
        const marginMs = Math.min(timeoutMs / 4, MAX_WITHDRAW_MARGIN_MS);
        timer = setTimeout(() => void this.#withdraw(write), due - now() - marginMs);
      }
      coalescer.add(write);
    });
  }

  async #withdraw(write: PendingWrite): Promise<void> {
    const { job } = write;
    if (write.settled || job === undefined || job.acceptedAt === undefined) return;
    const { tenant } = job;
    const { states, sender } = this.#context;
    const [withdrawn, held] = await Promise.all([
      sender.withdraw(job),
      // Asked behind it on the same connection. Without an answer in time it is said without them.
      untilDue(Promise.resolve(states.holders?.([tenant])), write.dueAt),
    ]);
    if (!withdrawn) return;
    const holders = held?.get(tenant) ?? [];
    const reason =
      holders.length === 0
        ? 'Others had the writer of this tenant until the deadline'
        : `Tenant ${tenant} is held: ${holders.map(describeHolder).join('; ')}`;
    const details = holders.length === 0 ? { tenant } : { tenant, holders };
    write.refuse(new OnewriterError('TRANSACTION_BUSY', `${reason}; nothing was run.`, details));
  }

  /**
   * Accepts no more writes; what is under way may finish until `timeoutMs` have passed, then every caller gets the
   * answer that is known.
   */
  async close(timeoutMs: number): Promise<void> {
    this.#closed ??= new OnewriterError('CLOSED', 'The client is closed.');
    this.#budget.refuseWaiting(this.#closed);
    await this.#budget.empty(timeoutMs);
    for (const coalescer of this.#coalescers.values()) coalescer.close(this.#closed);
    await this.settler.settleAll();
  }

  /** @param key the tenant, or one of its transactions. */
  #coalescer(key: string, tenant = key): Coalescer {
    let coalescer = this.#coalescers.get(key);
    if (coalescer === undefined) {
      if (this.#coalescers.size >= MAX_IDLE_COALESCERS) this.#dropIdle();
      coalescer = new Coalescer(tenant, this.#coalescerContext, this.#droppedSeq, key !== tenant);
      this.#coalescers.set(key, coalescer);
    }
    return coalescer;
  }

  #dropIdle(): void {
    for (const [key, coalescer] of this.#coalescers) {
      if (!coalescer.idle) continue;
      this.#droppedSeq = Math.max(this.#droppedSeq, coalescer.seq);
      this.#coalescers.delete(key);
    }
  }
}

function toAnswer(
  result: WireOperationResult | undefined,
  commitSeq: number,
  { receipt, replicatedAt, waitsForReplica }: AnsweredWrite,
): WriteAnswer {
  return { result, commitSeq, receipt, replicatedAt, waitsForReplica };
}

/** Bytes of the budget that a write needs. */
function bytesOf({ operationBytes, sqlBytes }: EncodedWrite): number {
  return operationBytes + sqlBytes;
}

/** Turns the wire's result into the caller's. */
class RunCaller implements WriteCaller {
  readonly #resolve: (result: RunResult) => void;
  readonly reject: (error: unknown) => void;

  constructor(resolve: (result: RunResult) => void, reject: (error: unknown) => void) {
    this.#resolve = resolve;
    this.reject = reject;
  }

  resolve(result: WireOperationResult | undefined, commitSeq: number, { replicatedAt }: AnsweredWrite): void {
    try {
      this.#resolve(withReplica(decodeRun(result!, commitSeq), replicatedAt));
    } catch (error) {
      this.reject(error);
    }
  }
}
