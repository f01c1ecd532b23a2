import { randomBytes } from 'node:crypto';
import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { ReadSteps } from '../../reads/read-steps.ts';
import { boundTokenOf } from '../../security/shares.ts';
import { classifyOne } from './classify-text.ts';
import type { PlannedStep } from './compile-requests.ts';
import { mapSteps } from './conditions.ts';
import { isInBand, toStepError } from './hrana-error.ts';
import {
  foreignKeysOf,
  isBegin,
  isRollback,
  isWrite,
  lastBeginMode,
  mayCommit,
  toReadStep,
  toWriteStep,
} from './planned-steps.ts';
import {
  isStepMet,
  type Step,
  type StepCondition,
  type StepError,
  type StepResult,
  type StepsAnswer,
  type StepsOptions,
} from './steps.ts';
import type { HranaStream } from './streams.ts';

/** Runs steps in the tenant's writer; see the SDK's `Tenant.steps`. */
export interface StepWriter {
  steps(
    tenant: string,
    request: {
      readonly steps: readonly Step[];
      readonly transaction?: string | undefined;
      readonly interactive?: boolean | undefined;
      readonly foreignKeys?: 'on' | 'off' | undefined;
      readonly expectCommitSeq?: number | undefined;
      readonly expectIncarnation?: string | undefined;
    },
    options: StepsOptions,
  ): Promise<StepsAnswer>;
}

/** Runs a read that cannot take long without a process of its own; undefined for all others. */
export type ReadNow = (
  tenant: string,
  statement: Pick<Step, 'sql' | 'params'>,
) => Pick<Extract<StepResult, { type: 'ok' }>, 'columns' | 'rows'> | undefined;

/** What a {@link StreamRunner} needs. */
export interface StreamRunnerOptions {
  readonly reads: ReadSteps;
  readonly readNow: ReadNow;
  readonly writer: StepWriter;
  /** @throws OnewriterError TENANT_PAUSED */
  readonly assertNotPaused: (tenant: string, timeoutMs: number) => Promise<void>;
  /** A tenant without a file is one without tables; else it is TENANT_NOT_FOUND. */
  readonly createTenants: boolean;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  /** A snapshot ends after this, used or not: it keeps the file's log from being cut. */
  readonly maxSnapshotMs: number;
}

/** How a request is run. */
export interface RunOptions {
  /** The stream ends with it: nothing is kept. */
  readonly closes: boolean;
  readonly signal?: AbortSignal | undefined;
  /** For log lines. */
  readonly requestId?: string | undefined;
  readonly sender?: string | undefined;
}

const BEGIN_IMMEDIATE = classifyOne('BEGIN IMMEDIATE');
const ALWAYS: StepCondition = Object.freeze({ type: 'and', conds: [] });
const NEVER: StepCondition = Object.freeze({ type: 'or', conds: [] });
const SNAPSHOT_STALE: StepError = Object.freeze({
  code: 'SNAPSHOT_STALE',
  message: 'The database has changed since the transaction began to read; begin it again.',
  sqliteCode: 'SQLITE_BUSY_SNAPSHOT',
});

/**
 * Runs the steps of one HTTP request where they belong: reads on a read-only connection, the whole request in the writer
 * if any of its statements may write. See `streams.ts` for the states a stream goes through.
 */
export class StreamRunner {
  readonly #options: StreamRunnerOptions;

  constructor(options: StreamRunnerOptions) {
    this.#options = options;
  }

  /** Whether the steps go to the writer, so that their sender must be allowed to write. */
  needsWriter({ state, foreignKeysOff }: HranaStream, steps: readonly PlannedStep[]): boolean {
    if (state.type === 'writing' || foreignKeysOff) return steps.length > 0;
    let mode: 'none' | 'deferred' | 'readonly' = 'none';
    if (state.type === 'reading') mode = state.readonly ? 'readonly' : 'deferred';
    for (const { classes } of steps) {
      for (const known of classes) {
        switch (known.kind) {
          case 'statement':
          case 'session':
            // A write in a read-only transaction fails where it is.
            if (mode !== 'readonly' && isWrite(known)) return true;
            break;
          case 'begin':
            // In a transaction it fails where it is.
            if (mode === 'none' && known.mode !== 'deferred') return true;
            if (mode === 'none') mode = known.readOnly ? 'readonly' : 'deferred';
            break;
          case 'commit':
          case 'rollback':
            mode = 'none';
            break;
          case 'savepoint':
            // A transaction that moves to the writer later cannot take its savepoints along.
            if (mode !== 'readonly') return true;
            break;
          default:
        }
      }
    }
    return false;
  }

  /**
   * Runs steps, and leaves the stream in the state that they lead to.
   * @returns one result per step
   * @throws OnewriterError what concerns more than a statement; the stream is then to be ended
   */
  async run(
    stream: HranaStream,
    steps: readonly PlannedStep[],
    options: RunOptions,
  ): Promise<readonly StepResult[]> {
    if (steps.length === 0) return [];
    if (stream.state.type === 'lost') return this.#runLost(stream, steps, options, stream.state.error);
    if (!this.needsWriter(stream, steps)) {
      const now = this.readNow(stream, steps);
      return now === undefined ? this.#runReads(stream, steps, options) : [now];
    }
    return stream.state.type === 'reading'
      ? this.#promote(stream, stream.state, steps, options)
      : this.#runWrites(stream, steps, options);
  }

  /** The result of steps that are one lookup by key, outside a transaction; undefined for all others. */
  readNow(stream: HranaStream, steps: readonly PlannedStep[]): StepResult | undefined {
    const { tenant, state, foreignKeysOff } = stream;
    const [step] = steps;
    if (step === undefined || steps.length > 1 || state.type !== 'autocommit' || foreignKeysOff)
      return undefined;
    if (step.script || step.describe || step.refused || step.condition !== undefined) return undefined;
    const [known] = step.classes;
    if (known?.kind !== 'statement' || known.statement.kind !== 'read') return undefined;
    const startedAt = performance.now();
    const found = this.#options.readNow(tenant, step);
    if (found === undefined) return undefined;
    const { columns, rows } = found;
    return {
      type: 'ok',
      columns,
      rows: step.rows === false ? [] : rows,
      changes: 0,
      lastInsertRowid: null,
      durationMs: performance.now() - startedAt,
    };
  }

  /** Steps as the reading processes take them. */
  toReadSteps(steps: readonly PlannedStep[]): readonly Step[] {
    return steps.map(step => toReadStep(step, undefined));
  }

  /** Ends the open transaction of a stream, without waiting for that. */
  end({ tenant, state }: HranaStream): void {
    if (state.type === 'reading') this.#options.reads.release(state.name);
    if (state.type !== 'writing') return;
    const request = { transaction: state.id, steps: [{ sql: 'ROLLBACK' }] };
    // If this fails, the writer ends it at its deadline.
    this.#options.writer
      .steps(tenant, request, { timeoutMs: this.#options.writeTimeoutMs })
      .catch(() => undefined);
  }

  /** Releases a snapshot that was held for too long: the stream waits for its ROLLBACK. */
  expireSnapshot(stream: HranaStream): void {
    if (stream.state.type !== 'reading') return;
    this.#options.reads.release(stream.state.name);
    stream.state = { type: 'lost', error: lostError('The transaction was open for too long.') };
  }

  async #runReads(
    stream: HranaStream,
    steps: readonly PlannedStep[],
    options: RunOptions,
    writesFailWith?: StepError,
  ): Promise<readonly StepResult[]> {
    const { state } = stream;
    const resume = state.type === 'reading' ? state.name : undefined;
    const keep = options.closes ? undefined : randomBytes(12).toString('base64url');
    // What is true until it is known better: where the process ends, so does the transaction in it.
    const mayLose = resume !== undefined || steps.some(({ classes }) => classes.some(isBegin));
    if (mayLose) stream.state = { type: 'lost', error: lostError('The transaction was lost.') };
    const answer = await this.#options.reads.run({
      tenant: stream.tenant,
      steps: steps.map(step => toReadStep(step, writesFailWith)),
      resume,
      keep,
      emptyIfMissing: this.#options.createTenants,
      timeoutMs: this.#options.readTimeoutMs,
      signal: options.signal,
      owner: boundTokenOf(stream.shares),
    });
    if (answer.lost) return answer.results;
    stream.state = { type: 'autocommit' };
    if (!answer.autocommit && keep !== undefined) {
      const known = state.type === 'reading' ? state : undefined;
      stream.state = {
        type: 'reading',
        name: keep,
        readonly: lastBeginMode(steps, answer.results) ?? known?.readonly ?? false,
        commitSeq: answer.commitSeq,
        incarnation: answer.incarnation,
        endsAt: known?.endsAt ?? performance.now() + this.#options.maxSnapshotMs,
      };
    }
    return answer.results;
  }

  /** The first write of a transaction that has only read so far: it moves to the writer, on the state it has seen. */
  async #promote(
    stream: HranaStream,
    state: Extract<HranaStream['state'], { type: 'reading' }>,
    steps: readonly PlannedStep[],
    options: RunOptions,
  ): Promise<readonly StepResult[]> {
    const begin: PlannedStep = { sql: 'BEGIN IMMEDIATE', classes: [BEGIN_IMMEDIATE] };
    const begun: StepCondition = { type: 'ok', step: 0 };
    const moved = steps.map(step => {
      const condition = step.condition === undefined ? begun : shifted(step.condition);
      return { ...step, condition: { type: 'and', conds: [begun, condition] } } satisfies PlannedStep;
    });
    let results: readonly StepResult[];
    try {
      results = await this.#runWrites(stream, [begin, ...moved], options, state);
    } catch (error) {
      if (!isOnewriterError(error, 'SNAPSHOT_STALE')) throw error;
      return this.#runReads(stream, steps, options, SNAPSHOT_STALE);
    }
    const [first, ...rest] = results;
    // Nothing has begun: the transaction can still read, as in SQLite after SQLITE_BUSY.
    if (first?.type === 'error') {
      stream.state = state;
      return this.#runReads(stream, steps, options, first.error);
    }
    this.#options.reads.release(state.name);
    return rest;
  }

  async #runWrites(
    stream: HranaStream,
    steps: readonly PlannedStep[],
    options: RunOptions,
    seen?: Pick<Extract<HranaStream['state'], { type: 'reading' }>, 'commitSeq' | 'incarnation'>,
  ): Promise<readonly StepResult[]> {
    const { closes, signal, requestId, sender } = options;
    const { state } = stream;
    const transaction = state.type === 'writing' ? state.id : undefined;
    const { writeTimeoutMs } = this.#options;
    // Asking counts towards the deadline, and leaves the write half of the time.
    const dueMs = performance.now() + writeTimeoutMs;
    let answer: StepsAnswer;
    try {
      if (transaction === undefined) {
        await this.#options.assertNotPaused(stream.tenant, writeTimeoutMs / 2);
      }
      const request = {
        steps: steps.map(toWriteStep),
        transaction,
        interactive: !closes,
        foreignKeys: foreignKeysOf(stream, steps, closes),
        expectCommitSeq: seen?.commitSeq,
        // Without a number nothing was read yet, and any file will do.
        expectIncarnation: seen?.commitSeq === undefined ? undefined : seen.incarnation,
      };
      answer = await this.#options.writer.steps(stream.tenant, request, {
        timeoutMs: Math.max(1, Math.ceil(dueMs - performance.now())),
        signal,
        requestId,
        sender,
      });
    } catch (error) {
      if (!(error instanceof OnewriterError) || !isInBand(error) || error.code === 'SNAPSHOT_STALE')
        throw error;
      if (transaction === undefined) return failSteps(steps, toStepError(error), true);
      // One request can hold a COMMIT and what failed after it.
      const ends = steps.some(({ classes }) => classes.some(mayCommit));
      const failure = ends ? uncertain(toStepError(error)) : toStepError(error);
      stream.state = { type: 'lost', error: ends ? { ...failure, code: LOST } : lostError(error.message) };
      return this.#runLost(stream, steps, options, failure);
    }
    if (answer.foreignKeys !== undefined) stream.foreignKeysOff = answer.foreignKeys === 'off';
    if (answer.transaction !== undefined) stream.state = { type: 'writing', id: answer.transaction.id };
    else if (answer.autocommit) stream.state = { type: 'autocommit' };
    else stream.state = { type: 'lost', error: lostError('The transaction was taken away.') };
    return answer.results;
  }

  /** Nothing runs before a ROLLBACK; what follows it is a request of its own. */
  async #runLost(
    stream: HranaStream,
    steps: readonly PlannedStep[],
    options: RunOptions,
    error: StepError,
  ): Promise<readonly StepResult[]> {
    const results: StepResult[] = [];
    const outcomes: StepResult['type'][] = [];
    for (const [index, step] of steps.entries()) {
      const result = !isStepMet(step.condition, outcomes, false)
        ? SKIPPED
        : isRollback(step)
          ? DONE
          : ({ type: 'error', error } as const);
      results.push(result);
      outcomes.push(result.type);
      if (result !== DONE) continue;
      stream.state = { type: 'autocommit' };
      const rest = steps.slice(index + 1).map(next => ({
        ...next,
        condition: next.condition === undefined ? undefined : resolved(next.condition, outcomes),
      }));
      return [...results, ...(await this.run(stream, rest, options))];
    }
    return results;
  }
}

const SKIPPED: StepResult = Object.freeze({ type: 'skipped' });
const DONE: StepResult = Object.freeze({
  type: 'ok',
  columns: [],
  rows: [],
  changes: 0,
  lastInsertRowid: null,
  durationMs: 0,
});

const LOST = 'TRANSACTION_TIMEOUT';

function lostError(message: string): StepError {
  return {
    code: LOST,
    message: `${message} Nothing of it was applied; roll back and begin again.`,
  };
}

/** An error of a request that a COMMIT was among. */
function uncertain(error: StepError): StepError {
  const doubt =
    'Whether the COMMIT of its request was applied is not known: read what it would have written.';
  return { ...error, message: `${error.message} ${doubt}` };
}

/** Every step that would run fails. */
function failSteps(steps: readonly Step[], error: StepError, autocommit: boolean): StepResult[] {
  const outcomes: StepResult['type'][] = [];
  for (const { condition } of steps)
    outcomes.push(isStepMet(condition, outcomes, autocommit) ? 'error' : 'skipped');
  return outcomes.map(type => (type === 'error' ? { type, error } : SKIPPED));
}

/** A condition of steps that have one more before them. */
function shifted(condition: StepCondition): StepCondition {
  return mapSteps(condition, (type, step) => ({ type, step: step + 1 }));
}

/** A condition of the steps after those whose outcomes are known. */
function resolved(condition: StepCondition, outcomes: readonly StepResult['type'][]): StepCondition {
  return mapSteps(condition, (type, step) => {
    if (step >= outcomes.length) return { type, step: step - outcomes.length };
    return (outcomes[step] === 'ok') === (type === 'ok') ? ALWAYS : NEVER;
  });
}
