import {
  classifyStep,
  decodeParameters,
  fromWireError,
  isMet,
  LIMITS,
  OnewriterError,
  parametersOf,
  type StepStates,
  splitScript,
  toWireError,
  type WireStep,
  type WireStepsOperation,
} from '@onewriter/protocol';
import { assertSteps } from '../batch/run-operation.ts';
import { translateError } from '../batch/sqlite-errors.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { describeStep, elapsed, typesOf } from '../steps/describe-step.ts';
import { readOnlyTransaction, refuseMalformed } from '../steps/shared-steps.ts';
import { nestedTransaction, noTransaction } from '../steps/step-refusals.ts';
import { collectRows } from './collect-rows.ts';
import type { ReadJudge } from './read-judge.ts';

/*
 * Steps in a job of reads. A job is read on one state, so BEGIN and COMMIT change nothing here: they are checked, and noted for the
 * answer. A transaction that goes on in a later job holds no snapshot: it says which commit it has seen (`at`), and what it reads after
 * another fails (infra/adr/0063).
 */

/** Runs steps that read. @param maxBytes bound of their results, encoded @returns JSON of a WireStepsResult */
export function runReadSteps(
  database: TenantDatabase,
  judge: ReadJudge,
  sql: readonly string[],
  op: WireStepsOperation,
  maxBytes: number,
): string {
  assertSteps(op.q);
  return new ReadSteps(database, judge, sql, op, maxBytes).run();
}

class ReadSteps implements StepStates {
  readonly #database: TenantDatabase;
  readonly #judge: ReadJudge;
  readonly #sql: readonly string[];
  readonly #op: WireStepsOperation;
  readonly #begunAt = performance.now();
  readonly #ok: boolean[] = [];
  #left: number;
  #hasRead = false;
  autocommit: boolean;

  constructor(
    database: TenantDatabase,
    judge: ReadJudge,
    sql: readonly string[],
    op: WireStepsOperation,
    maxBytes: number,
  ) {
    this.#database = database;
    this.#judge = judge;
    this.#sql = sql;
    this.#op = op;
    this.#left = maxBytes;
    this.autocommit = op.rt !== 1;
  }

  isOk(step: number): boolean {
    return this.#ok[step] === true;
  }

  run(): string {
    const results = this.#op.q.map(step => {
      const result = this.#result(step);
      this.#ok.push(result.startsWith('{"r"'));
      this.#left -= result.length;
      return result;
    });
    const seen = this.#hasRead ? `,"seq":0,"in":"${this.#database.incarnation}"` : '';
    return `{"q":[${results.join()}],"a":${this.autocommit ? 1 : 0}${seen}}`;
  }

  #result(step: WireStep): string {
    try {
      if (step.c !== undefined && !isMet(step.c, this)) return '0';
      if (step.e !== undefined) throw fromWireError(step.e);
      if (performance.now() - this.#begunAt > LIMITS.ownerReadMs) throw tooLong();
      // An error may have ended the transaction that undoes what a function writes.
      if (!this.#database.db.inTransaction) this.#database.db.exec('BEGIN');
      return this.#run(step, performance.now());
    } catch (error) {
      return JSON.stringify({ e: toWireError(translateError(error)) });
    }
  }

  #run(step: WireStep, startedMs: number): string {
    const text = this.#textOf(step);
    if (step.d === 1) return describeStep(this.#database.db, text, startedMs);
    if (step.x !== 1) {
      const done = this.#runOne(text, step);
      return `{"r":${done},"ms":${elapsed(startedMs)}}`;
    }
    for (const [statementIndex, statement] of splitScript(text).entries()) {
      try {
        this.#runOne(statement, { s: step.s, n: 1 });
      } catch (thrown) {
        const { code, message, details, cause } = translateError(thrown);
        throw new OnewriterError(code, message, { ...details, statementIndex }, cause);
      }
    }
    return `{"r":[0,0],"ms":${elapsed(startedMs)}}`;
  }

  /** @returns JSON of a WireStatementResult, and of the types of its columns */
  #runOne(sql: string, { p, n, w }: WireStep): string {
    const known = classifyStep(sql);
    if (known.kind !== 'statement') {
      // Transaction control has no parameters.
      if (p !== undefined) parametersOf(sql).toArguments(decodeParameters(p));
      this.#control(known.kind, sql);
      return '[0,0]';
    }
    if (w !== undefined || known.statement.kind !== 'read') throw readOnlyTransaction();
    this.#assertFresh();
    this.#hasRead = true;
    const compiled = this.#database.statements.get(sql);
    if (compiled.answer !== undefined && !compiled.returnsRows) return '[0,0]';
    const maxBytes = Math.min(this.#left, LIMITS.maxOwnerReadBytes);
    const rows = collectRows(this.#database, this.#judge, compiled, p, { rows: n !== 1, maxBytes });
    return `${rows}${typesOf(compiled.statement)}`;
  }

  #control(kind: Exclude<ReturnType<typeof classifyStep>['kind'], 'statement'>, sql: string): void {
    switch (kind) {
      case 'begin':
        if (!this.autocommit) throw nestedTransaction();
        this.autocommit = false;
        return;
      case 'commit':
      case 'rollback':
        if (this.autocommit) throw noTransaction(kind);
        this.autocommit = true;
        return;
      case 'savepoint':
      case 'release':
      case 'rollback-to':
        this.#database.db.exec(sql);
        return;
      case 'session':
        return; // It is so already: the sender sends all others to the writer.
      case 'malformed':
        refuseMalformed(this.#database.db, sql);
    }
  }

  /** @throws OnewriterError SNAPSHOT_STALE where the transaction has seen another state */
  #assertFresh(): void {
    const { at, in: incarnation } = this.#op;
    if (at === undefined || this.autocommit) return;
    const { ledger, incarnation: ours } = this.#database;
    if (at === ledger.commitSeq() && (incarnation === undefined || incarnation === ours)) return;
    throw new OnewriterError(
      'SNAPSHOT_STALE',
      'The database has changed since the transaction began to read, and the owner of the file keeps no snapshot for it; begin it again.',
      { sqliteCode: 'SQLITE_BUSY_SNAPSHOT' },
    );
  }

  #textOf({ s }: WireStep): string {
    const text = this.#sql[s];
    if (typeof text === 'string') return text;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      'The step refers to an SQL text that the job does not carry.',
    );
  }
}

function tooLong(): OnewriterError {
  return new OnewriterError(
    'READ_TOO_COSTLY',
    `The steps of the request ran for over ${LIMITS.ownerReadMs} ms together; send fewer in one.`,
  );
}
