import {
  isReadJobId,
  LIMITS,
  OnewriterError,
  parseWriteJob,
  receiptId,
  sqlOfWrite,
  toWireError,
  type WireError,
  type WireOperationResult,
  type WriteJobMessage,
  writerName,
} from '@onewriter/protocol';
import type { LedgerRow } from '../ledger/ledger.ts';
import type { DeadLetter, JobOutcome, QueuedJob } from '../thread/lane-task.ts';
import { FAILURE } from './run-operation.ts';

/** Longest job: one write of the largest size with its SQL text, or a full job. */
const MAX_JOB_LENGTH = LIMITS.maxOperationBytes + LIMITS.maxJobBytes + LIMITS.maxStatementBytes;
/** SQL text of a dead letter. */
const MAX_DEAD_LETTER_SQL = 10_000;

/** One job on its way through a batch: its message, and its results so far. */
export class BatchJob {
  readonly id: string;
  /** Undefined where the job is unreadable; then there is an error. */
  readonly message: WriteJobMessage | undefined;
  /** Failures that are final, by index of the write: it ended a transaction, and is not tried again. */
  readonly failed = new Map<number, string>();
  /** When Redis received it. */
  readonly addedAt: number | undefined;
  readonly #poisoned: Readonly<Record<number, WireError>> | undefined;
  readonly #client: string;
  #error: WireError | undefined;
  /** JSON of the results of writes that were tried, in order. */
  #results: string[] = [];
  #resultBytes = 0;
  /** The first write to run; those before were tried in an earlier delivery. */
  #first = 0;
  #duplicate = false;
  #asksTotal: boolean | undefined;
  #commitSeq = 0;
  /** Results that the broker gets; left out where they are too large for an event. */
  #shown = '';
  #answer: string | undefined;
  /** Reads that were run. */
  #reads = 0;
  #failureCodes: readonly string[] = [];
  #deadLetters: readonly DeadLetter[] = [];

  constructor(job: QueuedJob) {
    this.id = job.id;
    this.#poisoned = job.poisoned;
    this.addedAt = job.addedAt;
    try {
      this.message = parseJob(job.data);
      this.#client = this.message.client;
    } catch (error) {
      this.#error = toWireError(error);
      this.#client = clientOf(job.data);
    }
  }

  get first(): number {
    return this.#first;
  }

  /** Writes that are still to run. */
  get remaining(): number {
    return this.message === undefined || this.#duplicate || this.#error !== undefined
      ? 0
      : this.message.ops.length - this.#first;
  }

  /** The error of a write that is poisoned, or whose job is: it stopped a thread, and is not run again. */
  poisonOf(op: number): WireError | undefined {
    return this.#poisoned?.[op] ?? this.#poisoned?.[-1];
  }

  /** Whether an earlier delivery committed some of it. */
  get known(): boolean {
    return this.#duplicate || this.#first > 0;
  }

  /** Who sent a write, for the history. */
  writerOf(op: number): string {
    return writerName(this.#client, this.message!.ops[op]?.o);
  }

  /** Continues after the commits of an earlier delivery. */
  resume(row: LedgerRow): void {
    if (row.next_op === null) {
      this.#duplicate = true;
      this.stage(row.results);
      this.settle(row.commit_seq);
      return;
    }
    this.#first = row.next_op;
    // The stored part is one string of several results; it only has to keep its place at the front.
    this.add(row.results.slice(1, -1));
  }

  /** Whether a statement of it may ask for `total_changes()`. */
  get asksTotal(): boolean {
    this.#asksTotal ??= this.message!.sql.some(text => /total_changes/i.test(String(text)));
    return this.#asksTotal;
  }

  /**
   * Refuses the whole job: none of its writes run.
   * @param answered callers are answered, so only writes that no caller waits for become dead letters.
   */
  refuse(error: OnewriterError, answered = false): void {
    const refusal = toWireError(error);
    this.#error = refusal;
    this.#deadLetters = [...this.message!.ops.keys()]
      .filter(op => !answered || this.message!.ops[op]?.d === 1)
      .map(op => this.#bury(op, refusal));
  }

  /** About how many bytes the results so far have, encoded. */
  get resultBytes(): number {
    return this.#resultBytes;
  }

  /** Adds the JSON of the next write's result. */
  add(result: string): void {
    this.#results.push(result);
    this.#resultBytes += result.length;
  }

  /** JSON of all results so far. */
  joinResults(): string {
    return `[${this.#results.join()}]`;
  }

  /** Cuts the results back to those before write `op`. */
  rewind(op: number): void {
    this.#results.length = op - this.#first + (this.#first > 0 ? 1 : 0);
    this.#resultBytes = this.#results.reduce((sum, result) => sum + result.length, 0);
  }

  /** Derives the broker's outcome from the results of the whole job; valid once {@link settle} is called. */
  stage(results: string): void {
    const { ops } = this.message!;
    const failures = results.includes(FAILURE) ? listFailures(results) : [];
    this.#failureCodes = failures.map(([, error]) => error.code);
    this.#deadLetters = failures
      .filter(([op]) => ops[op]?.d === 1)
      .map(([op, error]) => this.#bury(op, error));
    this.#shown = fitsEvent(results) ? results : '';
  }

  /** Stores an answer that no ledger has. */
  stageUnrecorded(results: string): void {
    this.#shown = fitsEvent(results) ? results : '';
    this.#answer = results;
  }

  /** Stores the answers of reads: no ledger has them, and the broker keeps only what no event can carry. */
  stageReads(results: string): void {
    this.#reads = this.message!.ops.length;
    this.#shown = fitsEvent(results) ? results : '';
    if (this.#shown === '') this.#answer = results;
  }

  /** Repeats the answer of an earlier delivery, while the transaction that it is about is open. */
  repeat(results: string): void {
    this.#duplicate = true;
    this.#shown = results;
  }

  /** The whole job is committed. */
  settle(commitSeq: number): void {
    this.#commitSeq = commitSeq;
    this.#results = [];
  }

  /** The outcome for the broker. */
  outcome(): JobOutcome {
    const outcome = {
      id: this.id,
      client: this.#client,
      writes: isReadJobId(this.id) ? 0 : (this.message?.ops.length ?? 0),
      failures: this.#failureCodes.length,
      duplicate: this.#duplicate,
      commitSeq: this.#commitSeq,
      results: this.#shown,
      ...(this.#reads === 0 ? {} : { reads: this.#reads }),
    };
    if (this.#error !== undefined) {
      const refused = { ...outcome, error: this.#error };
      return this.#deadLetters.length === 0 ? refused : { ...refused, deadLetters: this.#deadLetters };
    }
    if (this.#answer !== undefined) return { ...outcome, answer: this.#answer };
    if (this.#failureCodes.length === 0) return outcome;
    const failed = { ...outcome, failureCodes: this.#failureCodes };
    return this.#deadLetters.length === 0 ? failed : { ...failed, deadLetters: this.#deadLetters };
  }

  #bury(op: number, error: WireError): DeadLetter {
    const sql = sqlOfWrite(this.message!, op, error.details?.statementIndex);
    return { receiptId: receiptId(this.id, op), sql: sql.slice(0, MAX_DEAD_LETTER_SQL), error };
  }
}

function parseJob(data: string): WriteJobMessage {
  if (data.length > MAX_JOB_LENGTH) {
    throw new OnewriterError('STATEMENT_TOO_LARGE', `The job is over ${MAX_JOB_LENGTH} characters.`);
  }
  const message = parseWriteJob(data);
  if (message.ops.length > LIMITS.maxJobOperations) {
    throw new OnewriterError('INVALID_ARGUMENT', `A job has at most ${LIMITS.maxJobOperations} writes.`);
  }
  return message;
}

/** The client of a job that this broker cannot read, so that it can be answered; '' where even that is unreadable. */
function clientOf(data: string): string {
  try {
    const client: unknown = JSON.parse(data)?.client;
    return typeof client === 'string' ? client : '';
  } catch {
    return '';
  }
}

function listFailures(results: string): (readonly [op: number, error: WireError])[] {
  const failures: (readonly [number, WireError])[] = [];
  for (const [op, result] of (JSON.parse(results) as WireOperationResult[]).entries()) {
    if ('e' in result) failures.push([op, result.e]);
  }
  return failures;
}

function fitsEvent(results: string): boolean {
  // One UTF-16 unit is at most three bytes of UTF-8.
  return results.length * 3 <= LIMITS.maxEventBytes || Buffer.byteLength(results) <= LIMITS.maxEventBytes;
}
