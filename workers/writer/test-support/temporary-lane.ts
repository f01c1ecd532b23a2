import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  NEWEST_COMMIT_SEQ_SQL,
  newJobId,
  PROTOCOL_VERSION,
  type WireOperation,
  type WireOperationResult,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { onTestFinished } from 'vitest';
import type { FreeSpace } from '../src/file/log-room.ts';
import type {
  AppliedOutcome,
  ApplyOutcome,
  JobOutcome,
  QueuedJob,
  RefusedOutcome,
  WriterOptions,
} from '../src/thread/lane-task.ts';
import { PROGRESS_BYTES } from '../src/thread/progress.ts';
import { WriterLane } from '../src/thread/writer-lane.ts';
import { guardAgainstStuckStatements } from './stuck-guard.ts';

// At once: later a test may have replaced the timers.
guardAgainstStuckStatements();

/** A job as Redis stores it. */
export function queuedJob(
  sql: readonly string[],
  ops: readonly unknown[],
  more: Partial<QueuedJob> & { client?: string } = {},
): QueuedJob {
  const data = JSON.stringify({ v: PROTOCOL_VERSION, client: more.client ?? 'c-1', seq: 1, at: 0, sql, ops });
  return { id: more.id ?? newJobId(), data, poisoned: more.poisoned, addedAt: more.addedAt };
}

/** A job of statements without parameters, one write each. */
export function writes(...sql: string[]): QueuedJob {
  return queuedJob(
    sql,
    sql.map((_, s): WireOperation => ({ s })),
  );
}

/** A job of one script. */
export function script(sql: string): QueuedJob {
  return queuedJob([sql], [{ x: 0 }]);
}

export function resultsOf(job: JobOutcome | undefined): readonly WireOperationResult[] {
  return JSON.parse(job?.results || '[]');
}

/** Result of each write of a job: 'ok', or its SQLite code, or its code. */
export function verdicts(job: JobOutcome | undefined): readonly string[] {
  return resultsOf(job).map(result =>
    'e' in result ? String(result.e.details?.sqliteCode ?? result.e.code) : 'ok',
  );
}

export function applied(outcome: ApplyOutcome): AppliedOutcome {
  if (outcome.kind === 'applied') return outcome;
  throw new Error(`refused: ${JSON.stringify(outcome.error)}`);
}

export function refused(outcome: ApplyOutcome): RefusedOutcome {
  if (outcome.kind === 'refused') return outcome;
  throw new Error(`applied: ${JSON.stringify(outcome.jobs)}`);
}

/** A temporary data directory, gone when the test is. */
export function temporaryDataDir(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-writer-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return dataDir;
}

/** A lane on a data directory of its own, closed when the test ends. */
export class TemporaryLane {
  readonly options: WriterOptions;
  readonly lane: WriterLane;

  constructor(options: Partial<WriterOptions> = {}, freeSpace?: FreeSpace) {
    this.options = {
      dataDir: options.dataDir ?? temporaryDataDir(),
      dbFile: 'tenant.db',
      createTenants: true,
      busyTimeoutMs: 200,
      maxOpenTenants: 10,
      exclusive: false,
      retentionClock: { id: 'test', offsetMs: 0 },
      progress: new SharedArrayBuffer(PROGRESS_BYTES),
      ...options,
    };
    this.lane = new WriterLane(this.options, freeSpace);
    onTestFinished(() => this.lane.close());
  }

  get file(): string {
    return join(this.options.dataDir, 'tenants', 'acme', this.options.dbFile);
  }

  run(jobs: readonly QueuedJob[], { tenant = 'acme', epoch = 1 } = {}): ApplyOutcome {
    return this.lane.run({ kind: 'apply', tenant, epoch, jobs });
  }

  /** Applies jobs that must not be refused. */
  apply(...jobs: QueuedJob[]): readonly JobOutcome[] {
    return applied(this.run(jobs)).jobs;
  }

  /** Applies one job that must not be refused. */
  applyOne(job: QueuedJob): JobOutcome {
    return this.apply(job)[0]!;
  }

  /** The newest commit of the file. */
  get commitSeq(): number {
    return this.column<number>(NEWEST_COMMIT_SEQ_SQL)[0]!;
  }

  /** All rows as arrays, read with a connection of its own. */
  rows(sql: string): unknown[][] {
    const db = new Database(this.file, { readonly: true });
    try {
      return db.prepare(sql).raw().all() as unknown[][];
    } finally {
      db.close();
    }
  }

  /** The first column of every row. */
  column<Value = unknown>(sql: string): Value[] {
    const db = new Database(this.file, { readonly: true });
    try {
      return db.prepare(sql).pluck().all() as Value[];
    } finally {
      db.close();
    }
  }
}
