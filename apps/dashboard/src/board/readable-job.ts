import {
  matchOperation,
  type OperationCases,
  PROTOCOL_VERSION,
  type WireOperation,
  type WireStatement,
  type WireValue,
  type WriteJobMessage,
} from '@onewriter/protocol';

/*
 * A job's compact message, as a person wants to read it. A job can hold a megabyte; what is shown is bounded, and
 * says what it leaves out.
 */

/** What the dashboard shows of a job's data. */
export interface ReadableJob {
  readonly tenant: string;
  readonly client: string;
  /** The how manyeth job of this client for this tenant. */
  readonly seq: number;
  /** By the client's clock. */
  readonly sentAt: string;
  readonly writes: readonly ReadableWrite[];
  /** What was left out. */
  readonly notShown?: string | undefined;
}

/** One write: a statement, a transaction, a script, a list of steps, or a piece of an import. */
export type ReadableWrite = (
  | ReadableStatement
  | { transaction: ReadableStatement[] }
  | { script: string }
  | { steps: ReadableStep[]; goesOnWith?: string | undefined }
  | { sql: string; rowsOfImport: number }
) & {
  readonly idempotencyKey?: string | undefined;
  /** Set if no caller waits for it. */
  readonly enqueued?: true | undefined;
};

/** One statement. */
export interface ReadableStatement {
  readonly sql: string;
  readonly params?: unknown;
  readonly expect?: unknown;
}

/** One step of a list. */
export interface ReadableStep extends ReadableStatement {
  readonly script?: true | undefined;
  readonly condition?: unknown;
}

const MAX_WRITES = 100;
const MAX_STATEMENTS = 100;
const MAX_PARAMETERS = 100;
const MAX_SQL_LENGTH = 4_000;
const MAX_TEXT_LENGTH = 300;
const SHOWN_BLOB_BYTES = 16;

/** What stands for the data of a finished job: the broker drops it. */
export const DROPPED_DATA =
  'The data of a finished job is not kept. The job’s name shows its first statement.';

/**
 * Formats the data of a job on a tenant's queue; anything that is not a message of this version is returned as it is,
 * because then it is what one wants to see.
 */
export function toReadableJob(tenant: string, data: unknown): unknown {
  // BullMQ reads empty data as an empty object.
  if (data !== null && typeof data === 'object' && Object.keys(data).length === 0) return DROPPED_DATA;
  const message = data as WriteJobMessage | null;
  if (message?.v !== PROTOCOL_VERSION || !Array.isArray(message.ops) || !Array.isArray(message.sql))
    return data;
  const writes = message.ops.slice(0, MAX_WRITES).map(operation => toReadableWrite(operation, message.sql));
  return {
    tenant,
    client: message.client,
    seq: message.seq,
    sentAt: toTime(message.at),
    writes,
    notShown: more(message.ops.length, MAX_WRITES, 'writes'),
  } satisfies ReadableJob;
}

/** Shortens long texts, long lists and blobs anywhere in `value`, which is JSON. */
export function abbreviate(value: unknown): unknown {
  if (typeof value === 'string') return abbreviateText(value, MAX_SQL_LENGTH);
  if (value === null || typeof value !== 'object') return value;
  if (isTagged(value)) return toReadableValue(value);
  if (Array.isArray(value)) {
    const shown = value.slice(0, MAX_PARAMETERS).map(abbreviate);
    const notShown = more(value.length, MAX_PARAMETERS, 'entries');
    return notShown === undefined ? shown : [...shown, `… ${notShown}`];
  }
  return Object.fromEntries(Object.entries(value).map(([name, content]) => [name, abbreviate(content)]));
}

function toReadableWrite(operation: WireOperation, texts: readonly string[]): ReadableWrite {
  return {
    ...matchOperation(operation, READABLE, texts),
    ...(operation.k === undefined ? {} : { idempotencyKey: operation.k }),
    ...(operation.d === undefined ? {} : { enqueued: true as const }),
  };
}

const READABLE: OperationCases<ReadableWrite, readonly string[]> = {
  statement: toReadableStatement,
  script: (op, texts) => ({ script: sqlAt(op.x, texts) }),
  transaction: ({ t }, texts) => {
    const shown = t.slice(0, MAX_STATEMENTS).map(statement => toReadableStatement(statement, texts));
    const notShown = more(t.length, MAX_STATEMENTS, 'statements');
    if (notShown !== undefined) shown.push({ sql: `… ${notShown}` });
    return { transaction: shown };
  },
  steps: ({ q, tx }, texts) => {
    const shown: ReadableStep[] = q.slice(0, MAX_STATEMENTS).map(({ s, p, x, c }) => ({
      ...toReadableStatement({ s, p }, texts),
      ...(x === undefined ? {} : { script: true }),
      ...(c === undefined ? {} : { condition: c }),
    }));
    const notShown = more(q.length, MAX_STATEMENTS, 'steps');
    if (notShown !== undefined) shown.push({ sql: `… ${notShown}` });
    return { steps: shown, ...(tx === undefined ? {} : { goesOnWith: tx }) };
  },
  rows: ({ w, m }, texts) => {
    const first = w.find(row => row !== 0);
    return {
      sql: first === undefined ? '' : sqlAt(first[0], texts),
      rowsOfImport: w.length,
      idempotencyKey: m.k,
    };
  },
};

function toReadableStatement(statement: WireStatement, texts: readonly string[]): ReadableStatement {
  return {
    sql: sqlAt(statement.s, texts),
    ...(statement.p === undefined ? {} : { params: toReadableParameters(statement.p) }),
    ...(statement.e === undefined ? {} : { expect: statement.e }),
  };
}

function sqlAt(index: number, texts: readonly string[]): string {
  return abbreviateText(texts[index] ?? `(no SQL text ${index} in this job)`, MAX_SQL_LENGTH);
}

function toReadableParameters(params: NonNullable<WireStatement['p']>): unknown {
  const entries = Object.entries(params).slice(0, MAX_PARAMETERS);
  const notShown = more(Object.keys(params).length, MAX_PARAMETERS, 'parameters');
  if (Array.isArray(params)) {
    const shown = entries.map(([, value]) => toReadableValue(value));
    return notShown === undefined ? shown : [...shown, `… ${notShown}`];
  }
  const shown = Object.fromEntries(entries.map(([name, value]) => [name, toReadableValue(value)]));
  return notShown === undefined ? shown : { ...shown, '…': notShown };
}

function toReadableValue(value: WireValue | object): unknown {
  if (typeof value === 'string') return abbreviateText(value, MAX_TEXT_LENGTH);
  if (value === null || typeof value !== 'object') return value;
  if ('i' in value) return `${String(value.i)} (integer)`;
  if ('f' in value) return `${String(value.f)} (real)`;
  if ('b' in value) return describeBlob(String(value.b));
  return value;
}

function describeBlob(base64: string): string {
  const padding = base64.endsWith('==') ? 2 : base64.endsWith('=') ? 1 : 0;
  const size = (base64.length / 4) * 3 - padding;
  const hex = Buffer.from(base64.slice(0, 32), 'base64').subarray(0, SHOWN_BLOB_BYTES).toString('hex');
  return `blob, ${size} bytes: ${hex}${size > SHOWN_BLOB_BYTES ? '…' : ''}`;
}

function abbreviateText(text: string, maxLength: number): string {
  return text.length <= maxLength
    ? text
    : `${text.slice(0, maxLength)}… (${text.length - maxLength} more characters)`;
}

function isTagged(value: object): boolean {
  const [tag, ...others] = Object.keys(value);
  return others.length === 0 && (tag === 'i' || tag === 'f' || tag === 'b');
}

function more(length: number, shown: number, what: string): string | undefined {
  return length > shown ? `${length - shown} more ${what}` : undefined;
}

/** A time as people read it; one that is none is shown as it is. */
function toTime(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}
