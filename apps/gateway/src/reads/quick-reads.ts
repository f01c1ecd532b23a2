import { statSync } from 'node:fs';
import {
  decodeParameters,
  encodeParameters,
  isOnewriterError,
  parametersOf,
  realDatabasePath,
  type SqlValue,
  tenantFile,
} from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import type { StepColumn } from '../dialects/hrana/steps.ts';
import type { FileSettings } from './open-tenant-file.ts';
import { Slowness } from './slowness.ts';
import { narrowIntegers, TenantReader } from './tenant-reader.ts';
import type {
  ReadAnswer,
  ReadRequest,
  ReadResult,
  ReadStatement,
  ReadStream,
  TenantReads,
} from './tenant-reads.ts';

/** Page caches of all connections together, and the least that each has. SQLite would give each 16 MB. */
const MAX_CACHE_KIB = 128 * 1024;
const MIN_READER_CACHE_KIB = 64;
const MAX_READER_CACHE_KIB = 16_000;
/** Share of the open files that is closed when the process may open no more. */
const SHARE_CLOSED = 1 / 8;
/** A value is no larger than its file: in a larger one a single key could hold up all others. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** A larger row is read by the read processes. */
const MAX_ROW_BYTES = 1024 * 1024;
/** Steps of a program, which bounds its columns, too. */
const MAX_STEPS = 250;
/** Compiling a statement may take any time and memory: one that took longer to explain is not compiled here. */
const MAX_JUDGING_MS = 50;
const JUDGING_TIMEOUT_MS = 1_000;
/** Explanations asked for at a time. */
const MAX_JUDGING = 4;
/** A busy process takes long to answer, whatever the statement: it is explained again up to this often. */
const MAX_TRIES = 5;
const CHECK_FILE_EVERY_MS = 1_000;
/** A file that was not read for so long is closed. */
const CLOSE_AFTER_MS = 60_000;
const MAX_SQL_LENGTH = 2_000;
const SELECT = /^\s*SELECT\s/i;
/**
 * What the program of a quick statement consists of: it seeks rows by key and takes columns out of them. No function, no
 * sub-program, no arithmetic, no virtual table, no sorting, and nothing that goes back to an earlier step but once at its
 * start: a view or a generated column may hide any of them. Source: https://www.sqlite.org/opcode.html
 */
const QUICK_OPCODES: ReadonlySet<string> = new Set([
  ...['Init', 'Transaction', 'Goto', 'Halt', 'Noop', 'Explain', 'ReleaseReg', 'Close', 'CursorHint'],
  ...[
    'OpenRead',
    'SeekRowid',
    'NotExists',
    'SeekGE',
    'IdxGT',
    'DeferredSeek',
    'FinishSeek',
    'IdxRowid',
    'Rowid',
  ],
  ...[
    'Column',
    'ResultRow',
    'Integer',
    'Int64',
    'Real',
    'String8',
    'Blob',
    'Null',
    'Variable',
    'Copy',
    'SCopy',
  ],
  ...[
    'Affinity',
    'RealAffinity',
    'MustBeInt',
    'IsNull',
    'NotNull',
    'Eq',
    'Ne',
    'Lt',
    'Le',
    'Gt',
    'Ge',
    'If',
    'IfNot',
  ],
]);
/** Steps of a plan that find at most one row. Source: https://www.sqlite.org/eqp.html */
const BY_ROWID = /^SEARCH \S+ USING INTEGER PRIMARY KEY \(rowid=\?\)$/;
const BY_UNIQUE_INDEX = /^SEARCH \S+ USING (?:COVERING )?INDEX (sqlite_autoindex_\S+) \(([^()]+)\)$/;

interface QuickReader {
  readonly reader: TenantReader;
  readonly begin: Database.Statement<[]>;
  readonly commit: Database.Statement<[]>;
  readonly readSchemaVersion: Database.Statement<[], number>;
  checkedAt: number;
  /** Size of the file and its log. */
  bytes: number;
  /** By text, under this version of the schema. */
  readonly plans: Map<string, QuickPlan>;
  /** As long as it is slow nothing of this tenant is run here. */
  readonly slowness: Slowness;
  schemaVersion: unknown;
}

/** What is known of a statement. */
interface QuickPlan {
  state: 'unknown' | 'quick' | 'not quick';
  /** Adds up the bytes of the row without reading it; compiled when it is first run. */
  measure: Database.Statement<unknown[], number> | undefined;
  tries: number;
}

/** What one statement found on one state of the database. */
interface QuickResult {
  readonly columns: readonly Database.ColumnDefinition[];
  /** One at most; integers are bigint. */
  readonly rows: SqlValue[][];
  readonly commitSeq: number | undefined;
  readonly incarnation: string | undefined;
}

/**
 * Runs the reads that cannot take long here, and hands all others on. A read in a process of its own can be stopped, which
 * costs two messages; a lookup of one row by its key need not be stopped, and is what most requests are. Whether it is one
 * is not guessed from its text: SQLite's plan must find at most one row in one table, its program may do nothing but take columns
 * out of it, and the row must be small. The plan is made in a process that can be stopped, when a statement is first seen: compiling
 * alone can take minutes and gigabytes, by views of views.
 */
export class QuickReads implements TenantReads {
  readonly #files: FileSettings;
  readonly #others: TenantReads;
  readonly #maxOpenFiles: number;
  readonly #readers = new Map<string, QuickReader>();
  /** Reads that were run here, and those that were handed on. */
  readonly counts = { quick: 0, other: 0 };
  readonly #looks: NodeJS.Timeout;
  /** One for each tenant, so that none keeps others from it. */
  readonly #judging = new Map<string, Promise<void>>();

  /** @param maxOpenFiles files that are kept open here; the least recently used is closed */
  constructor(files: FileSettings, others: TenantReads, maxOpenFiles: number) {
    this.#maxOpenFiles = maxOpenFiles;
    // Waiting for a lock would block the event loop: the read processes can wait.
    this.#files = { ...files, busyTimeoutMs: 0 };
    this.#others = others;
    this.#looks = setInterval(() => this.#closeUnused(), CLOSE_AFTER_MS).unref();
  }

  get openFiles(): number {
    return this.#readers.size + this.#others.openFiles;
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const quick = this.#tryQuick(request);
    if (quick === undefined) this.counts.other++;
    else this.counts.quick++;
    return quick ?? this.#others.read(request);
  }

  /** One statement outside a transaction, now; undefined where it is not quick, or fails: a read process then reports why. */
  readNow(
    tenant: string,
    statement: ReadStatement,
  ): { readonly columns: readonly StepColumn[]; readonly rows: SqlValue[][] } | undefined {
    const quick = this.#tryStatement(tenant, statement);
    if (quick === undefined) {
      this.counts.other++;
      return undefined;
    }
    this.counts.quick++;
    return { columns: quick.columns.map(({ name, type }) => ({ name, decltype: type })), rows: quick.rows };
  }

  stream(request: ReadRequest): Promise<ReadStream> {
    this.counts.other++;
    return this.#others.stream(request);
  }

  forget(tenant: string): void {
    this.#close(tenant);
    this.#others.forget(tenant);
  }

  /** Resolves when no statement is being explained. */
  async settled(): Promise<void> {
    while (this.#judging.size > 0) await Promise.all(this.#judging.values());
  }

  /** Closes the files that are open here. Idempotent. */
  close(): void {
    clearInterval(this.#looks);
    for (const tenant of [...this.#readers.keys()]) this.#close(tenant);
  }

  #closeUnused(): void {
    const before = performance.now() - CLOSE_AFTER_MS;
    // The least recently used come first, and are looked at once a second while they are used.
    for (const [tenant, { checkedAt }] of this.#readers) if (checkedAt <= before) this.#close(tenant);
  }

  /** Undefined where it is not quick, or fails: the read process that runs it next has the right error. */
  #tryQuick({ tenant, statements, minCommitSeq, signal, safeIntegers }: ReadRequest): ReadAnswer | undefined {
    const [statement] = statements;
    if (statements.length !== 1 || statement === undefined || minCommitSeq !== undefined || signal?.aborted) {
      return undefined;
    }
    const quick = this.#tryStatement(tenant, statement);
    if (quick === undefined) return undefined;
    const { columns, rows, commitSeq, incarnation } = quick;
    if (!safeIntegers) for (const row of rows) narrowIntegers(row);
    return { results: [{ columns: columns.map(({ name }) => name), rows }], commitSeq, incarnation };
  }

  #tryStatement(tenant: string, { sql, params }: ReadStatement): QuickResult | undefined {
    if (sql.length > MAX_SQL_LENGTH || !SELECT.test(sql)) return undefined;
    try {
      const known = this.#reader(tenant);
      // As they would arrive in a process of its own.
      const values = parametersOf(sql).toArguments(decodeParameters(encodeParameters(params)));
      if (known.bytes > MAX_FILE_BYTES || known.slowness.isSlow) return undefined;
      const plan = findPlan(known, sql);
      if (plan.state !== 'quick') {
        if (plan.state === 'unknown') this.#judgeLater(tenant, known, plan, { sql, params });
        return undefined;
      }
      return known.slowness.measure(() => runQuick(known, plan, sql, values));
    } catch {
      this.#close(tenant);
      return undefined;
    }
  }

  #judgeLater(tenant: string, known: QuickReader, plan: QuickPlan, statement: ReadStatement): void {
    if (this.#judging.size >= MAX_JUDGING || this.#judging.has(tenant) || plan.tries >= MAX_TRIES) return;
    plan.tries++;
    // Until it is known, no second look.
    plan.state = 'not quick';
    const judging = this.#judge(tenant, known, plan, statement);
    this.#judging.set(
      tenant,
      judging.finally(() => this.#judging.delete(tenant)),
    );
  }

  /** Never throws: a statement that cannot be explained is not quick. */
  async #judge(tenant: string, known: QuickReader, plan: QuickPlan, { sql, params }: ReadStatement) {
    const begunAt = performance.now();
    let answer: ReadAnswer;
    try {
      answer = await this.#others.read({
        tenant,
        statements: [
          { sql: `EXPLAIN QUERY PLAN ${sql}`, params },
          { sql: `EXPLAIN ${sql}`, params },
          { sql: 'PRAGMA schema_version' },
        ],
        timeoutMs: JUDGING_TIMEOUT_MS,
      });
    } catch (error) {
      // Where the process was busy the next run asks again, up to a bound.
      if (isOnewriterError(error) && error.retryable) plan.state = 'unknown';
      return;
    }
    if (performance.now() - begunAt > MAX_JUDGING_MS) {
      plan.state = 'unknown';
      return;
    }
    const [steps, program, version] = answer.results;
    // The schema has changed, or the file was closed meanwhile: the plan is not found any more.
    if (!known.reader.db.open || Number(version?.rows[0]?.[0]) !== Number(known.schemaVersion)) return;
    try {
      if (isQuickPlan(known.reader.db, textsOf(steps, 'detail'), textsOf(program, 'opcode')))
        plan.state = 'quick';
    } catch {
      this.#close(tenant); // the file was replaced
    }
  }

  #reader(tenant: string): QuickReader {
    const now = performance.now();
    let known = this.#readers.get(tenant);
    if (known !== undefined && now - known.checkedAt > CHECK_FILE_EVERY_MS) {
      if (known.reader.isStale(this.#files, tenant)) {
        this.#close(tenant);
        known = undefined;
      } else {
        known.checkedAt = now;
        known.bytes = this.#bytesOf(tenant);
      }
    }
    known ??= this.#open(tenant, now);
    this.#readers.delete(tenant);
    this.#readers.set(tenant, known);
    return known;
  }

  #open(tenant: string, now: number): QuickReader {
    this.#closeOldest(this.#maxOpenFiles - 1);
    const reader = this.#openWithRoom(tenant);
    const cacheKib = Math.max(MIN_READER_CACHE_KIB, Math.floor(MAX_CACHE_KIB / this.#maxOpenFiles));
    reader.db.pragma(`cache_size = -${Math.min(cacheKib, MAX_READER_CACHE_KIB)}`);
    return {
      reader,
      begin: reader.db.prepare('BEGIN'),
      commit: reader.db.prepare('COMMIT'),
      readSchemaVersion: reader.db.prepare<[], number>('PRAGMA schema_version').pluck(),
      checkedAt: now,
      bytes: this.#bytesOf(tenant),
      plans: new Map(),
      slowness: new Slowness(),
      schemaVersion: undefined,
    };
  }

  /** When the process has reached its limit of open files, closes others until it can open this one. */
  #openWithRoom(tenant: string): TenantReader {
    for (;;) {
      try {
        return new TenantReader(this.#files, tenant);
      } catch (error) {
        const { size } = this.#readers;
        if (size === 0 || !isOnewriterError(error, 'TOO_MANY_OPEN_FILES')) throw error;
        this.#closeOldest(Math.min(Math.floor(size * (1 - SHARE_CLOSED)), size - 1));
      }
    }
  }

  #closeOldest(left: number): void {
    for (const oldest of this.#readers.keys()) {
      if (this.#readers.size <= left) return;
      this.#close(oldest);
    }
  }

  #bytesOf(tenant: string): number {
    const path = realDatabasePath(tenantFile(this.#files.dataDir, tenant, this.#files.dbFile));
    const bytes = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    return bytes(path) + bytes(`${path}-wal`);
  }

  #close(tenant: string): void {
    const known = this.#readers.get(tenant);
    this.#readers.delete(tenant);
    known?.reader.close();
  }
}

/** What is known of a statement, as the schema is now. */
function findPlan(known: QuickReader, sql: string): QuickPlan {
  const { reader, plans } = known;
  const version = known.readSchemaVersion.get();
  if (version !== known.schemaVersion) {
    // What is compiled is made from the schema in memory. Without one the file was replaced, or is empty.
    if (!reader.checkSchema()) throw new Error('There is no schema.');
    plans.clear();
    known.schemaVersion = version;
  }
  let plan = plans.get(sql);
  if (plan === undefined) {
    if (plans.size >= 1_000) plans.clear();
    plan = { state: 'unknown', measure: undefined, tries: 0 };
    plans.set(sql, plan);
  }
  return plan;
}

/** @param steps of EXPLAIN QUERY PLAN. @param opcodes of EXPLAIN */
function isQuickPlan(db: Database.Database, steps: readonly string[], opcodes: readonly string[]): boolean {
  const [step] = steps;
  // One table: with several a value of one is the key of the next, and a large one is compared again and again.
  if (step === undefined || steps.length > 1 || opcodes.length > MAX_STEPS) return false;
  if (!BY_ROWID.test(step) && !usesWholeKey(db, step)) return false;
  return opcodes.every(opcode => QUICK_OPCODES.has(opcode));
}

function textsOf(result: ReadResult | undefined, column: string): string[] {
  const index = result?.columns.indexOf(column) ?? -1;
  return result?.rows.map(row => String(row[index])) ?? [];
}

/** SQLite takes the length of a column in bytes from the head of its row; what it is of is not loaded. */
function prepareMeasure({ db }: TenantReader, sql: string): Database.Statement<unknown[], number> {
  const names = db
    .prepare(sql)
    .columns()
    .map((_, index) => `c${index}`);
  const bytes = names.map(name => `coalesce(octet_length(${name}), 0)`).join(' + ');
  const query = sql.replace(/[\s;]+$/, '');
  return db
    .prepare<unknown[], number>(`WITH q(${names.join(', ')}) AS (${query}\n) SELECT ${bytes} FROM q`)
    .pluck();
}

/** Whether a step finds its row by all columns of a unique key. */
function usesWholeKey(db: TenantReader['db'], detail: string): boolean {
  const match = BY_UNIQUE_INDEX.exec(detail);
  if (match === null) return false;
  const terms = match[2]!.split(' AND ');
  const columns = db.prepare('SELECT count(*) FROM pragma_index_info(?)').pluck().get(match[1]);
  return terms.every(term => term.endsWith('=?')) && terms.length === Number(columns);
}

/** The commit that it saw and the row, of one state of the database; undefined where the row is large. */
function runQuick(
  { reader, begin, commit, bytes }: QuickReader,
  plan: QuickPlan,
  sql: string,
  values: readonly unknown[],
): QuickResult | undefined {
  begin.run();
  const statement = reader.statement(sql);
  // No value is larger than its file; a statement may name the same column many times.
  if (bytes * statement.columns().length > MAX_ROW_BYTES) {
    plan.measure ??= prepareMeasure(reader, sql);
    if ((plan.measure.get(...values) ?? 0) > MAX_ROW_BYTES) {
      commit.run();
      return undefined;
    }
  }
  const commitSeq = reader.commitSeq();
  const rows = statement.all(...values) as SqlValue[][];
  commit.run();
  // After it has run: it is compiled again where the schema has changed.
  return { columns: statement.columns(), rows, commitSeq, incarnation: reader.incarnation };
}
