import type { WireRowsOperation } from './import-rows.ts';
import type { WireError } from './onewriter-error.ts';
import { OnewriterError } from './onewriter-error.ts';
import type { WireStatementResult } from './statement-result.ts';
import type { WireParameters } from './value.ts';

/*
 * Steps: statements that run one after the other on the tenant's connection, each under a condition, an error in one not
 * ending the others, transaction control among them. It is what libSQL's clients send (Hrana's batches and streams). A
 * request is one write of a job. How it is run: infra/adr/0013-steps-and-interactive-transactions.md.
 */

/** Whether a step runs; looks at steps before it. A step that failed, was skipped or is still to come is not `ok`. */
export type StepCondition =
  | { readonly type: 'ok' | 'error'; readonly step: number }
  | { readonly type: 'not'; readonly cond: StepCondition }
  | { readonly type: 'and' | 'or'; readonly conds: readonly StepCondition[] }
  | { readonly type: 'is_autocommit' };

/** The write that is a list of steps. */
export interface WireStepsOperation {
  readonly q: readonly WireStep[];
  /** The open transaction to continue. */
  readonly tx?: string | undefined;
  /** Set: a transaction that is open at the end is kept, else it is rolled back. */
  readonly i?: 1 | undefined;
  /** Nothing runs unless the tenant's commit_seq is this. */
  readonly at?: number | undefined;
  /** With `at`: nothing runs unless the tenant's file is this incarnation, as of DatabaseFile. */
  readonly in?: string | undefined;
  /**
   * Set: the client's session goes beyond this request. It begins with foreign keys off (0) or on (1), and the result says how it ends.
   */
  readonly fk?: 0 | 1 | undefined;
  /**
   * Nothing runs after this: ms since the epoch, by the client's clock. A transaction whose client has gone would block the
   * tenant for no use.
   */
  readonly by?: number | undefined;
  /** In a job of reads: the steps continue a transaction that only reads. */
  readonly rt?: 1 | undefined;
  /** Id of the request that the steps came with, for log lines. */
  readonly r?: string | undefined;
  /** Who sent them; as in other operations. */
  readonly o?: string | undefined;
}

export interface WireStep {
  /** Index into the job's `sql`. */
  readonly s: number;
  readonly p?: WireParameters | undefined;
  /** Set: a script, run to its first error, without rows. */
  readonly x?: 1 | undefined;
  /** Set: the rows are not wanted. */
  readonly n?: 1 | undefined;
  readonly c?: StepCondition | undefined;
  /** Set: it is compiled and not run. */
  readonly d?: 1 | undefined;
  /**
   * Set: it fails with this where it would run. Its SQL text is empty, so that it also fails in a writer that does not know
   * this member.
   */
  readonly e?: WireError | undefined;
  /** Set: a piece of an import instead of a statement; `s` is the INSERT of its first row, for people. */
  readonly w?: WireRowsOperation | undefined;
}

/** Result of a {@link WireStepsOperation}. */
export interface WireStepsResult {
  /** One per step. */
  readonly q: readonly WireStepResult[];
  /** Whether no transaction is open after the last step; without `tx`, one that was open is rolled back by now. */
  readonly a: 0 | 1;
  /** The transaction that is kept open, and the time until which it is safe from being rolled back (ms since the epoch, broker's clock). */
  readonly tx?: { readonly id: string; readonly until: number } | undefined;
  /** Set where the request had one: whether foreign keys are on (1) outside the transaction that is open, if any. */
  readonly fk?: 0 | 1 | undefined;
  /** Set where something was committed: its commit_seq, or 0 where it is that of the job. */
  readonly seq?: number | undefined;
  /** In a job of reads, where it read anything: the incarnation of the file. Then `seq` is 0: the job's is the state that it saw. */
  readonly in?: string | undefined;
}

/** Result of one step; 0 where its condition was not met. */
export type WireStepResult = WireStepDone | { readonly e: WireError } | 0;

export interface WireStepDone {
  readonly r: WireStatementResult;
  /** Declared types of the columns, where there are rows. */
  readonly d?: readonly (string | null)[] | undefined;
  readonly ms: number;
  /** Set where it was only compiled: whether it reads only. */
  readonly ro?: 0 | 1 | undefined;
}

/** Ids of transactions: `t-<uuidv7>`. */
export const TRANSACTION_ID_PATTERN = /^t-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What a condition can ask about. */
export interface StepStates {
  isOk(step: number): boolean;
  readonly autocommit: boolean;
}

/** Says whether a condition is met. */
export function isMet(condition: StepCondition, states: StepStates): boolean {
  switch (condition.type) {
    case 'ok':
      return states.isOk(condition.step);
    case 'error':
      return !states.isOk(condition.step);
    case 'not':
      return !isMet(condition.cond, states);
    case 'and':
      return condition.conds.every(cond => isMet(cond, states));
    case 'or':
      return condition.conds.some(cond => isMet(cond, states));
    case 'is_autocommit':
      return states.autocommit;
  }
}

/** How deep conditions may be nested, and how many there may be in one step. */
const MAX_CONDITION_DEPTH = 16;
const MAX_CONDITIONS = 256;

/**
 * Checks a condition of a request of `steps` steps; returns a copy without any other field.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function readCondition(condition: unknown, steps: number): StepCondition {
  let left = MAX_CONDITIONS;
  const read = (value: unknown, depth: number): StepCondition => {
    if (--left < 0 || depth > MAX_CONDITION_DEPTH) throw malformed('A condition is too large.');
    const { type, step, cond, conds } = (value ?? {}) as Record<string, unknown>;
    switch (type) {
      case 'ok':
      case 'error':
        if (!Number.isInteger(step) || Number(step) < 0 || Number(step) >= steps)
          throw malformed('A condition refers to a step that does not exist.');
        return { type, step: Number(step) };
      case 'not':
        return { type, cond: read(cond, depth + 1) };
      case 'and':
      case 'or':
        if (!Array.isArray(conds)) throw malformed(`A condition "${type}" takes an array of conditions.`);
        return { type, conds: conds.map(inner => read(inner, depth + 1)) };
      case 'is_autocommit':
        return { type };
      default:
        throw malformed('A condition has an unknown type.');
    }
  };
  return read(condition, 0);
}

function malformed(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
