import { EventEmitter, once } from 'node:events';
import {
  answerOfStep,
  decodeParameters,
  isOnewriterError,
  OnewriterError,
  parametersOf,
  SnapshotIndex,
  type SqlValue,
  toWireError,
} from '@onewriter/protocol';
import { MAX_REOPENS } from './open-tenant-file.ts';
import { assertSo, toExact } from './pragma-answers.ts';
import { toReadError } from './read-errors.ts';
import {
  type EndMessage,
  type FromReadProcess,
  type ReadProcessSettings,
  type ReadStatementTask,
  type ReadTask,
  STREAM_WINDOW,
  type StepsTask,
  type ToReadProcess,
} from './read-messages.ts';
import { type RowForm, rowWriter } from './row-json.ts';
import { runSteps, type StepSource } from './run-steps.ts';
import { narrowIntegers, TenantReader } from './tenant-reader.ts';

/*
 * A process that runs reads, one at a time. Its argument is ReadProcessSettings as JSON; read-messages.ts has the rest.
 * It can be killed at any moment: it holds nothing but read-only connections.
 */

/** Rows and bytes that travel in one message, about. */
const CHUNK_ROWS = 512;
const CHUNK_BYTES = 128 * 1024;
/** Rows as JSON may be so many times as large as their values. */
const MAX_TEXT_FACTOR = 2;
/** What a row and a value cost beside a text or blob. */
const ROW_BYTES = 16;
const VALUE_BYTES = 12;
const CLOSE_UNUSED_EVERY_MS = 60_000;

const settings = JSON.parse(process.argv[2]!) as ReadProcessSettings;
/** The least recently used first. */
const readers = new Map<string, TenantReader>();
/** Readers with a kept transaction, by its name. The gateway bounds them. */
const kept = new Map<string, { readonly reader: TenantReader; commitSeq: number | undefined }>();
/** Tenants that were read since the last look; files of others are closed. */
const used = new Set<string>();
/** Fires when a stream was acknowledged or cancelled. */
const signals = new EventEmitter();
let acknowledged = 0;
let cancelled = false;

setInterval(closeUnused, CLOSE_UNUSED_EVERY_MS).unref();
process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToReadProcess) => {
  switch (message.type) {
    case 'read':
      void run(message);
      break;
    case 'steps':
      void runStepsTask(message);
      break;
    case 'release':
      kept.get(message.name)?.reader.close();
      kept.delete(message.name);
      break;
    case 'more':
      acknowledged++;
      signals.emit('stream');
      break;
    case 'cancel':
      cancelled = true;
      signals.emit('stream');
      break;
    case 'forget':
      forget(message.tenant);
      break;
    default:
      message satisfies never;
  }
});
send({ type: 'ready' });

function send(message: FromReadProcess): void {
  process.send?.(message);
}

async function run(task: ReadTask): Promise<void> {
  acknowledged = 0;
  cancelled = false;
  try {
    const { commitSeq, incarnation } = await runStatements(task);
    send({ type: 'end', commitSeq, incarnation, openFiles: readers.size });
  } catch (error) {
    const wire = toWireError(toReadError(error, task.tenant));
    send({ type: 'error', error: wire, openFiles: readers.size });
  }
}

async function runStepsTask(task: StepsTask): Promise<void> {
  acknowledged = 0;
  cancelled = false;
  try {
    const answer = await runStepsOn(task);
    send({ type: 'end', ...answer, openFiles: readers.size + kept.size });
  } catch (error) {
    const wire = toWireError(toReadError(error, task.tenant));
    send({ type: 'error', error: wire, openFiles: readers.size + kept.size });
  }
}

/** What a transaction that is still open has seen, where it has seen anything. */
async function runStepsOn(
  task: StepsTask,
): Promise<Pick<EndMessage, 'commitSeq' | 'incarnation' | 'autocommit'>> {
  const { tenant, resume, keep } = task;
  const known = resume === undefined ? undefined : kept.get(resume);
  let reader = known?.reader ?? readerOf(tenant, task.emptyIfMissing);
  if (resume !== undefined) kept.delete(resume);
  const source: StepSource = {
    get db() {
      return reader.db;
    },
    renew: () => {
      if (reader.isEmptyDatabase || !reader.isReplaced(settings, tenant)) return false;
      const { inTransaction } = reader.db;
      if (readers.get(tenant) === reader) readers.delete(tenant);
      reader.close();
      reader = readerOf(tenant, task.emptyIfMissing);
      // The transaction has not read yet.
      if (inTransaction) reader.db.exec('BEGIN');
      return true;
    },
  };
  let done = false;
  try {
    const hasRead = await runSteps(source, tenant, task.steps, createSink(task));
    done = true;
    if (!reader.db.inTransaction || keep === undefined) return { commitSeq: undefined, autocommit: true };
    const commitSeq = known?.commitSeq ?? (hasRead ? (reader.commitSeq() ?? 0) : undefined);
    if (readers.get(tenant) === reader) readers.delete(tenant);
    kept.set(keep, { reader, commitSeq });
    return { commitSeq, incarnation: reader.incarnation, autocommit: false };
  } finally {
    if (!done || !kept.has(keep ?? '')) {
      if (reader.db.inTransaction) reader.db.exec('ROLLBACK');
      if (readers.get(tenant) !== reader) reader.close();
    }
  }
}

function createSink(task: StepsTask) {
  const meter = new ResultMeter(task);
  let chunk: SqlValue[][] = [];
  const flush = () => {
    if (chunk.length > 0) send({ type: 'rows', rows: chunk });
    if (chunk.length > 0) meter.chunkSent();
    chunk = [];
  };
  return {
    get cancelled() {
      return cancelled;
    },
    begin: (step: number, columns: Extract<FromReadProcess, { type: 'step' }>['columns']) =>
      send({ type: 'step', step, columns }),
    row: (row: SqlValue[]) => {
      meter.add(row);
      chunk.push(row);
      if (!meter.chunkIsFull(chunk.length)) return undefined;
      flush();
      return task.streamed ? taken(meter) : undefined;
    },
    end: (durationMs: number, readonly?: boolean) => {
      flush();
      send({ type: 'stepEnd', durationMs, readonly });
    },
    error: (step: number, error: Extract<FromReadProcess, { type: 'stepError' }>['error']) => {
      flush();
      send({ type: 'stepError', step, error });
    },
  };
}

/** All statements in one transaction: they see one state of the database, and what commit it is. */
async function runStatements(task: ReadTask): Promise<Pick<EndMessage, 'commitSeq' | 'incarnation'>> {
  const reader = beginOnCurrent(task.tenant);
  const index = new SnapshotIndex(reader.db.name);
  try {
    const commitSeq = reader.commitSeq();
    if (task.minCommitSeq !== undefined && (commitSeq ?? 0) < task.minCommitSeq) {
      throw new OnewriterError(
        'COMMIT_SEQ_NOT_REACHED',
        `The tenant is at commit ${commitSeq ?? 0}, the read asks for ${task.minCommitSeq}.`,
        { tenant: task.tenant, commitSeq: commitSeq ?? 0 },
      );
    }
    const result = new ResultMeter(task);
    for (const statement of task.statements) {
      if (cancelled) break;
      await runStatement(reader, statement, task, result, index);
    }
    return { commitSeq, incarnation: reader.incarnation };
  } finally {
    if (reader.db.open && reader.db.inTransaction) reader.db.exec('COMMIT');
  }
}

async function runStatement(
  reader: TenantReader,
  { sql, params }: ReadStatementTask,
  task: ReadTask,
  meter: ResultMeter,
  index: SnapshotIndex,
): Promise<void> {
  const answer = answerOfStep(sql);
  if (answer !== undefined) {
    assertSo(reader.db, answer);
    send({ type: 'columns', columns: answer.columns });
    const row = task.safeIntegers ? answer.row.map(toExact) : [...answer.row];
    if (row.length === 0) return;
    if (task.json === undefined) {
      await sendRows([row], false, meter);
      return;
    }
    const json = new JsonRows(task.json, answer.columns, meter);
    json.add(row);
    json.flush();
    return;
  }
  const statement = reader.statement(sql);
  const rows = statement.iterate(...parametersOf(sql).toArguments(decodeParameters(params)));
  try {
    // The first step compiles again where the schema has changed; only then are the columns right.
    let next = rows.next();
    const columns = statement.columns().map(column => column.name);
    send({ type: 'columns', columns });
    if (task.json !== undefined) {
      const json = new JsonRows(task.json, columns, meter);
      for (; !next.done && !cancelled; next = rows.next()) {
        const row = next.value as SqlValue[];
        if (!task.safeIntegers) narrowIntegers(row);
        meter.add(row);
        if (json.add(row)) index.assertKept(task.tenant);
        if (task.firstRowOnly) break;
      }
      index.assertKept(task.tenant);
      json.flush();
      return;
    }
    let chunk: SqlValue[][] = [];
    while (!next.done) {
      const row = next.value as SqlValue[];
      if (!task.safeIntegers) narrowIntegers(row);
      meter.add(row);
      chunk.push(row);
      if (task.firstRowOnly) break;
      if (meter.chunkIsFull(chunk.length)) {
        index.assertKept(task.tenant);
        await sendRows(chunk, task.streamed === true, meter);
        chunk = [];
        if (cancelled) break;
      }
      next = rows.next();
    }
    index.assertKept(task.tenant);
    if (chunk.length > 0 && !cancelled) await sendRows(chunk, false, meter);
  } finally {
    rows.return?.();
  }
}

async function sendRows(rows: SqlValue[][], paced: boolean, meter: ResultMeter): Promise<void> {
  send({ type: 'rows', rows });
  meter.chunkSent();
  if (paced) await taken(meter);
}

/** Until few enough chunks are under way. */
async function taken(meter: ResultMeter): Promise<void> {
  while (!cancelled && meter.chunks - acknowledged >= STREAM_WINDOW) await once(signals, 'stream');
}

/** Sends the rows of a statement as JSON. */
class JsonRows {
  readonly #write: ((row: readonly SqlValue[]) => string) | undefined;
  readonly #meter: ResultMeter;
  #text = '';
  #rows = 0;

  constructor(form: RowForm, columns: readonly string[], meter: ResultMeter) {
    this.#write = form.rows === 'none' ? undefined : rowWriter(form, columns);
    this.#meter = meter;
  }

  /** @returns whether a message was sent. @throws OnewriterError RESULT_TOO_LARGE */
  add(row: readonly SqlValue[]): boolean {
    if (this.#write === undefined) return false;
    const text = this.#write(row);
    this.#meter.addText(text.length);
    this.#text += this.#rows++ === 0 ? text : `,${text}`;
    if (this.#text.length < CHUNK_BYTES) return false;
    this.flush();
    return true;
  }

  flush(): void {
    if (this.#text !== '') send({ type: 'json', json: Buffer.from(this.#text) });
    this.#text = '';
  }
}

/** Counts what a task returns. */
class ResultMeter {
  readonly #task: Pick<ReadTask, 'tenant' | 'maxRows' | 'maxBytes'>;
  #rows = 0;
  #bytes = 0;
  #chunkBytes = 0;
  #textLength = 0;
  chunks = 0;

  constructor(task: Pick<ReadTask, 'tenant' | 'maxRows' | 'maxBytes'>) {
    this.#task = task;
  }

  /** @throws OnewriterError RESULT_TOO_LARGE */
  add(row: readonly SqlValue[]): void {
    let bytes = ROW_BYTES;
    for (const value of row) {
      bytes += VALUE_BYTES;
      if (typeof value === 'string') bytes += value.length;
      else if (value instanceof Uint8Array) bytes += value.byteLength;
    }
    this.#rows++;
    this.#bytes += bytes;
    this.#chunkBytes += bytes;
    const { maxRows, maxBytes, tenant } = this.#task;
    if (this.#rows > maxRows) {
      const message = `The result has more than ${maxRows} rows; ask for less at a time, or for NDJSON.`;
      throw new OnewriterError('RESULT_TOO_LARGE', message, { tenant, maxRows });
    }
    if (this.#bytes > maxBytes) {
      const message = `The result has more than ${maxBytes} bytes; ask for less at a time, or for NDJSON.`;
      throw new OnewriterError('RESULT_TOO_LARGE', message, { tenant, maxBytes });
    }
  }

  /**
   * Counts rows as they are written: names of columns stand in each.
   * @throws OnewriterError RESULT_TOO_LARGE
   */
  addText(length: number): void {
    this.#textLength += length;
    const { tenant } = this.#task;
    const maxBytes = this.#task.maxBytes * MAX_TEXT_FACTOR;
    if (this.#textLength <= maxBytes) return;
    const message = `The result has more than ${maxBytes} bytes as JSON; ask for less at a time, for values without names, or for NDJSON.`;
    throw new OnewriterError('RESULT_TOO_LARGE', message, { tenant, maxBytes });
  }

  chunkIsFull(rows: number): boolean {
    return rows >= CHUNK_ROWS || this.#chunkBytes >= CHUNK_BYTES;
  }

  chunkSent(): void {
    this.chunks++;
    this.#chunkBytes = 0;
  }
}

/** Begins a transaction, whose snapshot is of a file that counted when it was taken. */
function beginOnCurrent(tenant: string): TenantReader {
  for (let reopens = 0; ; reopens++) {
    const reader = readerOf(tenant);
    reader.db.exec('BEGIN');
    try {
      // The first read takes the snapshot.
      if (reader.checkSchema()) return reader;
    } catch (error) {
      reader.db.exec('ROLLBACK');
      throw error;
    }
    if (!reader.isStale(settings, tenant) || reopens >= MAX_REOPENS) return reader;
    reader.db.exec('ROLLBACK');
    forget(tenant);
  }
}

function readerOf(tenant: string, emptyIfMissing = false): TenantReader {
  used.add(tenant);
  const known = readers.get(tenant);
  readers.delete(tenant);
  if (known !== undefined && !known.isStale(settings, tenant)) {
    readers.set(tenant, known);
    return known;
  }
  known?.close();
  while (readers.size >= settings.maxOpenFiles) forget(readers.keys().next().value!);
  const reader = openWithRoom(tenant, emptyIfMissing);
  readers.set(tenant, reader);
  return reader;
}

/** When this process has reached its limit of open files, closes others until it can open this one. */
function openWithRoom(tenant: string, emptyIfMissing: boolean): TenantReader {
  for (;;) {
    try {
      return new TenantReader(settings, tenant, emptyIfMissing);
    } catch (error) {
      const [oldest] = readers.keys();
      if (oldest === undefined || !isOnewriterError(error, 'TOO_MANY_OPEN_FILES')) throw error;
      forget(oldest);
    }
  }
}

function closeUnused(): void {
  for (const [tenant, { db }] of readers) if (!used.has(tenant) && !db.inTransaction) forget(tenant);
  used.clear();
}

function forget(tenant: string): void {
  readers.get(tenant)?.close();
  readers.delete(tenant);
}
