import type { ErrorCode, SqlParameters, SqlValue, StepClass, StepCondition } from '@onewriter/protocol';
import type { WaitOptions } from './wait-options.ts';
import type { ImportPiece } from './write/import-types.ts';

/*
 * The advanced part of the public API: statements that run one after the other on the tenant's writer connection, with
 * transaction control among them. Most callers want transaction(), which cannot hold anybody up.
 */

/** What {@link Tenant.steps} runs. */
export interface StepsRequest {
  /** 1 to LIMITS.maxSteps; SQL and parameters together within LIMITS.maxOperationBytes. */
  readonly steps: readonly Step[];
  /** Id of an open transaction to continue. */
  readonly transaction?: string | undefined;
  /**
   * `true`: a transaction that is open after the last step is kept open, and its id is in the answer. Else it is rolled
   * back; the answer then says `autocommit: false` and has no transaction.
   */
  readonly interactive?: boolean | undefined;
  /**
   * For a caller that keeps a session over several requests: whether foreign keys are on when this one begins; the answer says
   * whether they are for the next. Left out: on, and `PRAGMA foreign_keys=OFF` holds no longer than the request and its transaction.
   */
  readonly foreignKeys?: 'on' | 'off' | undefined;
  /** Nothing runs unless the tenant's commit_seq is this: SNAPSHOT_STALE. */
  readonly expectCommitSeq?: number | undefined;
  /** With `expectCommitSeq`: nor unless the tenant's file is this incarnation. */
  readonly expectIncarnation?: string | undefined;
  /**
   * The steps only read, all on one state, as a read through the owner of the file; `inside`: within a transaction that earlier steps
   * began. No transaction stays open in the writer; a later request goes on with the `commitSeq` and `incarnation` of this answer.
   */
  readonly readOnly?: 'outside' | 'inside' | undefined;
}

/** How a {@link StepsRequest} is sent. */
export interface StepsOptions extends WaitOptions {
  /** Shown in the broker's log lines about these steps; 1 to LIMITS.maxRequestIdLength characters. */
  readonly requestId?: string | undefined;
  /** As in {@link WriteOptions}. */
  readonly sender?: string | undefined;
}

/** One statement, or one script. */
export interface Step {
  /** One statement; BEGIN, COMMIT, END, ROLLBACK [TO], SAVEPOINT, RELEASE and `PRAGMA [defer_]foreign_keys = …` are allowed. */
  readonly sql: string;
  /** `sql` is a script: run to its first error; no rows. */
  readonly script?: boolean | undefined;
  /** What the statements of `sql` are, where the caller has classified them: of equal ones one is enough. Else the client does. */
  readonly kinds?: readonly StepClass['kind'][] | undefined;
  readonly params?: SqlParameters | undefined;
  /** `false`: the rows are not returned. */
  readonly rows?: boolean | undefined;
  /** Rows of an import instead of a statement, all or nothing; `sql` is the INSERT of the first. */
  readonly importRows?: ImportPiece | undefined;
  /** Only compiled, for its columns; an error where it would not run. */
  readonly describe?: boolean | undefined;
  /** When it runs; absent: always. */
  readonly condition?: StepCondition | undefined;
  /** It does not run but fails with this: what its sender has found wrong with it. */
  readonly refused?: StepError | undefined;
}

/** What became of a {@link StepsRequest}. */
export interface StepsAnswer {
  /** One per step, same order. */
  readonly results: readonly StepResult[];
  /**
   * Whether no transaction was open after the last step. `false` without `transaction`: it was rolled back, or it had
   * timed out before (TRANSACTION_TIMEOUT) and no ROLLBACK was among the steps.
   */
  readonly autocommit: boolean;
  /** The transaction that is open now. */
  readonly transaction?: OpenTransaction | undefined;
  /** What the next request of the session begins with; set where the request had one. */
  readonly foreignKeys?: 'on' | 'off' | undefined;
  /** commit_seq of the last commit that these steps made; with `readOnly` that of the state that they have read. */
  readonly commitSeq?: number | undefined;
  /** With `readOnly`: the file that was read; see the protocol's DatabaseFile. */
  readonly incarnation?: string | undefined;
}

/** A transaction that waits for its next steps. */
export interface OpenTransaction {
  readonly id: string;
  /** Until then it is safe from being rolled back; ms since the epoch, by the broker's clock. */
  readonly expiresAt: number;
}

/** What became of one step. */
export type StepResult =
  | {
      readonly type: 'ok';
      /** Empty where the statement returns no rows. */
      readonly columns: readonly StepColumn[];
      /** Every INTEGER is a bigint, every REAL a number. */
      readonly rows: readonly (readonly SqlValue[])[];
      readonly changes: number;
      /** null for what is not an insert. */
      readonly lastInsertRowid: number | bigint | null;
      readonly durationMs: number;
      /** For a described statement: whether it only reads. */
      readonly readonly?: boolean | undefined;
    }
  | { readonly type: 'error'; readonly error: StepError }
  /** Its condition was not met. */
  | { readonly type: 'skipped' };

export interface StepColumn {
  readonly name: string;
  /** As in the table's definition; null for an expression. */
  readonly decltype: string | null;
}

export interface StepError {
  readonly code: ErrorCode;
  readonly message: string;
  /** SQLite's extended result code, for example `SQLITE_CONSTRAINT_PRIMARYKEY`. */
  readonly sqliteCode?: string | undefined;
  /** For a script: the statement that failed, from 0. */
  readonly statementIndex?: number | undefined;
  /** Number of the row in its import, where it is about one. */
  readonly row?: number | undefined;
}

export type { StepCondition };
