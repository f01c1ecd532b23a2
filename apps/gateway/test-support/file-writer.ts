import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  classifyStep,
  OnewriterError,
  parametersOf,
  splitScript,
  tenantFile,
  uuidv7,
  withReservedNames,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { isStepMet, type Step, type StepResult } from '../src/dialects/hrana/steps.ts';
import type { StepWriter } from '../src/dialects/hrana/stream-runner.ts';

interface OpenFile {
  readonly db: Database.Database;
  transaction: string | undefined;
  /** Commits since the file was opened, as the table `sqlite_onewriter_state` has them. */
  commitSeq: number;
}

/** A tenant's writer, in this process and without a queue: what steps do is SQLite's own doing. */
export class FileWriter implements StepWriter {
  readonly requests: Parameters<StepWriter['steps']>[1][] = [];
  /** The next request fails with this. */
  failWith: OnewriterError | undefined;
  /** Says of a lost transaction by a rejection that it is lost; else by each step's result. */
  rejectsLost = false;
  /** Awaited between a request and its answer. */
  pause: Promise<void> = Promise.resolve();
  readonly #dataDir: string;
  readonly #files = new Map<string, OpenFile>();

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  open(tenant: string): OpenFile {
    let file = this.#files.get(tenant);
    if (file !== undefined) return file;
    const path = tenantFile(this.#dataDir, tenant);
    mkdirSync(dirname(path), { recursive: true });
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    withReservedNames(db, () =>
      db.exec(`CREATE TABLE sqlite_onewriter_state(id INTEGER PRIMARY KEY, commit_seq INTEGER);
        INSERT INTO sqlite_onewriter_state VALUES (1, 0);
        CREATE TABLE sqlite_onewriter_ledger(id INTEGER PRIMARY KEY, commit_seq INTEGER)`),
    );
    file = { db, transaction: undefined, commitSeq: 0 };
    this.#files.set(tenant, file);
    return file;
  }

  /** Takes the tenant's open transaction away. */
  takeAway(tenant: string): void {
    const file = this.open(tenant);
    file.db.exec('ROLLBACK');
    file.transaction = undefined;
  }

  close(): void {
    for (const { db } of this.#files.values()) db.close();
  }

  async steps(tenant: string, request: Parameters<StepWriter['steps']>[1]) {
    this.requests.push(request);
    const failure = this.failWith;
    this.failWith = undefined;
    if (failure !== undefined) throw failure;
    const file = this.open(tenant);
    if (request.transaction !== undefined && file.transaction !== request.transaction) {
      const gone = new OnewriterError('TRANSACTION_TIMEOUT', 'The transaction is gone.');
      if (this.rejectsLost) throw gone;
      const error = { code: gone.code, message: gone.message };
      return { results: request.steps.map(() => ({ type: 'error', error }) as const), autocommit: false };
    }
    if (request.transaction === undefined && file.transaction !== undefined) {
      throw new OnewriterError('TRANSACTION_BUSY', 'Another transaction is open.');
    }
    if (request.expectCommitSeq !== undefined && request.expectCommitSeq !== file.commitSeq) {
      throw new OnewriterError('SNAPSHOT_STALE', 'The tenant has moved on.');
    }
    if (request.foreignKeys === 'off') file.db.pragma('foreign_keys = OFF'); // ignored in a transaction
    const results = this.#run(file, request.steps);
    await this.pause;
    const open = file.db.inTransaction;
    const foreignKeys = foreignKeysOf(file.db, request.foreignKeys);
    if (open && request.interactive !== true) file.db.exec('ROLLBACK');
    if (!file.db.inTransaction) {
      file.transaction = undefined;
      file.db.prepare('UPDATE sqlite_onewriter_state SET commit_seq = ?').run(++file.commitSeq);
      file.db.pragma('foreign_keys = ON');
      return { results, autocommit: !open, foreignKeys };
    }
    file.transaction ??= `t-${uuidv7()}`;
    return {
      results,
      autocommit: false,
      foreignKeys,
      transaction: { id: file.transaction, expiresAt: Date.now() + 5_000 },
    };
  }

  #run({ db }: OpenFile, steps: readonly Step[]): StepResult[] {
    const results: StepResult[] = [];
    const outcomes: StepResult['type'][] = [];
    for (const step of steps) {
      let result: StepResult = { type: 'skipped' };
      const met = isStepMet(step.condition, outcomes, !db.inTransaction);
      if (met && step.refused !== undefined) result = { type: 'error', error: step.refused };
      else if (met) {
        try {
          result = runOne(db, step);
        } catch (error) {
          const { message, code } = error as Error & { code?: string };
          const known = error instanceof OnewriterError ? error.code : 'SQL_ERROR';
          result = { type: 'error', error: { code: known, message, sqliteCode: code } };
        }
      }
      results.push(result);
      outcomes.push(result.type);
    }
    return results;
  }
}

function foreignKeysOf(db: Database.Database, asked: 'on' | 'off' | undefined): 'on' | 'off' | undefined {
  if (asked === undefined) return undefined;
  return db.pragma('foreign_keys', { simple: true }) === 1 ? 'on' : 'off';
}

function runOne(db: Database.Database, { sql, script, describe, params = [], rows }: Step): StepResult {
  if (script) {
    for (const statement of splitScript(sql)) runOne(db, { sql: statement, rows: false });
    return done([], [], 0, null);
  }
  const known = classifyStep(sql);
  const text = known.kind === 'begin' && known.readOnly ? 'BEGIN' : sql;
  const statement = db.prepare<unknown[], unknown[]>(text);
  const columns = statement.reader
    ? statement.columns().map(({ name, type }) => ({ name, decltype: type }))
    : [];
  if (describe) return { ...done(columns, [], 0, null), readonly: statement.readonly };
  const values = parametersOf(sql).toArguments(params);
  if (statement.reader) {
    const all = statement
      .raw(true)
      .safeIntegers(true)
      .all(...values) as never[];
    return done(columns, rows === false ? [] : all, 0, null);
  }
  const inserts = known.kind === 'statement' && known.statement.inserts;
  const { changes, lastInsertRowid } = statement.run(...values);
  return done([], [], changes, inserts ? lastInsertRowid : null);
}

function done(
  columns: Extract<StepResult, { type: 'ok' }>['columns'],
  rows: Extract<StepResult, { type: 'ok' }>['rows'],
  changes: number,
  lastInsertRowid: number | bigint | null,
): Extract<StepResult, { type: 'ok' }> {
  return { type: 'ok', columns, rows, changes, lastInsertRowid, durationMs: 0.1 };
}
