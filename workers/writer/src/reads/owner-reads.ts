import {
  kindOfOperation,
  LIMITS,
  OnewriterError,
  toWireError,
  type WireOperation,
  type WireStatement,
  type WireStepsOperation,
} from '@onewriter/protocol';
import type { BatchJob } from '../batch/batch-job.ts';
import { translateError } from '../batch/sqlite-errors.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import type { ReadAllowance } from '../thread/lane-task.ts';
import type { Progress } from '../thread/progress.ts';
import { collectRows } from './collect-rows.ts';
import { ReadJudge } from './read-judge.ts';
import { runReadSteps } from './read-steps.ts';

/*
 * Reads of processes that cannot open the file: jobs in the tenant's queue, run on the connection that writes, after the writes of
 * their task are committed. So a read sees what its client sent before it, and its answer waits for the same flush.
 * They run in a transaction that is rolled back: a SELECT whose function writes leaves nothing.
 */

/** Where its sender says nothing. */
const ALLOWANCE: ReadAllowance = Object.freeze({ ms: 50, retryAfterMs: 50 });

/** A job of reads, and its place in the task. */
export interface ReadJob {
  readonly job: BatchJob;
  readonly index: number;
}

/** Runs the reads of one thread, as long as the broker allows: see its `read-share.ts`. */
export class OwnerReads {
  readonly #judges = new WeakMap<TenantDatabase, ReadJudge>();

  /** Answers jobs of reads; a read that fails is an answer. @throws better-sqlite3's errors where no transaction can be begun */
  run(
    database: TenantDatabase,
    jobs: readonly ReadJob[],
    progress: Progress,
    { ms, retryAfterMs }: ReadAllowance = ALLOWANCE,
  ): void {
    const { db } = database;
    progress.atFiles(false);
    const judge = this.#judges.get(database) ?? new ReadJudge(db);
    this.#judges.set(database, judge);
    const due = { at: performance.now() + ms, retryAfterMs };
    db.exec('BEGIN');
    try {
      judge.look();
      const commitSeq = database.ledger.commitSeq();
      for (const { job, index } of jobs) {
        job.stageReads(this.#runJob(database, judge, job, due, op => progress.at(index, op)));
        job.settle(commitSeq);
      }
    } finally {
      if (db.inTransaction) db.exec('ROLLBACK');
      database.runner.forgetLastRowid();
    }
  }

  #runJob(
    database: TenantDatabase,
    judge: ReadJudge,
    job: BatchJob,
    due: { readonly at: number; readonly retryAfterMs: number },
    at: (op: number) => void,
  ): string {
    const { sql, ops } = job.message!;
    const results: string[] = [];
    let left: number = LIMITS.maxOwnerJobBytes;
    for (const [index, op] of ops.entries()) {
      at(index);
      const poison = job.poisonOf(index);
      const result =
        poison !== undefined
          ? JSON.stringify({ e: poison })
          : answer(() => {
              // An error may have ended the transaction; without one, what a function writes would stay.
              if (!database.db.inTransaction) database.db.exec('BEGIN');
              if (performance.now() >= due.at || left <= 0) throw later(due.retryAfterMs);
              return runRead(database, judge, sql, op, left);
            });
      left -= result.length;
      results.push(result);
    }
    return `[${results.join()}]`;
  }
}

function answer(run: () => string): string {
  try {
    return run();
  } catch (error) {
    return JSON.stringify({ e: toWireError(translateError(error)) });
  }
}

function runRead(
  database: TenantDatabase,
  judge: ReadJudge,
  texts: readonly string[],
  op: WireOperation,
  maxBytes: number,
): string {
  if (kindOfOperation(op) === 'steps') {
    return runReadSteps(database, judge, texts, op as WireStepsOperation, maxBytes);
  }
  const { s, p, f } = op as Partial<WireStatement>;
  const text = typeof s === 'number' ? texts[s] : undefined;
  if (typeof text !== 'string') {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      'The read refers to an SQL text that the job does not carry.',
    );
  }
  return collectRows(database, judge, database.statements.get(text), p, { firstOnly: f === 1 });
}

function later(retryAfterMs: number): OnewriterError {
  return new OnewriterError(
    'RATE_LIMITED',
    'Reads through the owner have used up their share of the thread that writes.',
    { retryAfterMs },
  );
}
