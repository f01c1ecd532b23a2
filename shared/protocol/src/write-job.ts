import type { WireRowsOperation, WireRowsResult } from './import-rows.ts';
import { LIMITS } from './limits.ts';
import { OnewriterError, type WireError } from './onewriter-error.ts';
import type { WireStatementResult } from './statement-result.ts';
import type { WireStepsOperation, WireStepsResult } from './steps.ts';
import { parseTraceparent, type TraceParent } from './trace-context.ts';
import type { WireParameters } from './value.ts';

/*
 * A job carries the writes of one client to one tenant, in the order they were issued. The writes of a job are
 * independent of each other (each succeeds or fails alone) unless they are statements of one transaction or
 * script. SQL texts are sent once per job and referred to by index.
 *
 * A new kind of write is a member of WireOperation here and of OperationCases in operation-kind.ts, which decodes it.
 */

/** The version of every message below. A reader refuses any other. */
export const PROTOCOL_VERSION = 2;

/** The data of a BullMQ job on a tenant's queue. */
export interface WriteJobMessage {
  readonly v: typeof PROTOCOL_VERSION;
  /** The client whose inbox gets the completion event. */
  readonly client: string;
  /** Counts this client's jobs for this tenant, from 1. Jobs of one client apply in this order. */
  readonly seq: number;
  /** When the client sent it: ms since the epoch, by the client's clock; for people, never for decisions. */
  readonly at: number;
  /**
   * The data directory that the client reads, in short ({@link shortIdentity}); a broker of another does not apply the job.
   * Absent where the client reads no files.
   */
  readonly dir?: string | undefined;
  /**
   * W3C `traceparent` of each write that is traced, up to `LIMITS.maxTracedWrites`; the broker adds its spans to these.
   * Stands before `sql`, so that it can be read without the rest: {@link readTraceparents}.
   */
  readonly tp?: readonly string[] | undefined;
  /**
   * Set where the client keeps its {@link presenceKey} and the steps may leave a transaction open: without the key no client is
   * left to end it. Stands before `sql`: {@link readLiveClient}.
   */
  readonly live?: 1 | undefined;
  /** SQL texts, each once. */
  readonly sql: readonly string[];
  /** 1 to `LIMITS.maxJobOperations` writes, in order. */
  readonly ops: readonly WireOperation[];
}

/** One write: a statement, a transaction, a script, a list of steps, or a piece of an import. */
export type WireOperation =
  | WireStatementOperation
  | WireTransactionOperation
  | WireScriptOperation
  | (WireOperationOptions & WireStepsOperation)
  | (WireOperationOptions & WireRowsOperation);

interface WireOperationOptions {
  /** Idempotency key: among writes of a tenant with the same key only the first is applied. */
  readonly k?: string | undefined;
  /** Set for writes without a waiting caller: a failure goes to the dead letters. */
  readonly d?: 1 | undefined;
  /** Id of the request that the write came with, for log lines. */
  readonly r?: string | undefined;
  /** Who sent it, where they may write several tenants: {@link SENDER_PATTERN}. */
  readonly o?: string | undefined;
}

export interface WireStatementOperation extends WireOperationOptions, WireStatement {}

export interface WireTransactionOperation extends WireOperationOptions {
  readonly t: readonly WireStatement[];
}

export interface WireScriptOperation extends WireOperationOptions {
  /** Index into `sql`. */
  readonly x: number;
}

/** One statement. */
export interface WireStatement {
  /** Index into `sql`. */
  readonly s: number;
  readonly p?: WireParameters | undefined;
  /** Conditions the result must meet, else the transaction is rolled back. */
  readonly e?: StatementExpectation | undefined;
  /** In a job of reads: only the first row is wanted. */
  readonly f?: 1 | undefined;
}

/** Conditions on a statement's result. */
export interface StatementExpectation {
  /** Rows the statement must insert, update or delete. */
  readonly changes?: number | undefined;
  /** Rows the statement must return. */
  readonly rows?: number | undefined;
}

/**
 * Result of one write, as the ledger stores it (a JSON array of these per job) and events carry it. A
 * transaction has a result per statement; a script has none.
 *
 * A write with an idempotency key carries the number of the commit that applied it (`seq`, or the third of
 * {@link WireChanges}): where it is repeated, that is not the commit of the job.
 */
export type WireOperationResult =
  | WireStatementResult
  | { readonly t: readonly WireStatementResult[]; readonly seq?: number | undefined }
  | WireStepsResult
  | WireRowsResult
  | { readonly e: WireError };

/** Fields of a `settled` event on a client's inbox: a BullMQ custom event, so all are strings. */
export interface SettledEvent {
  readonly v: string;
  readonly jobId: string;
  readonly tenant: string;
  /** Decimal; '0' where nothing was committed. */
  readonly commitSeq: string;
  /** JSON of {@link WireOperationResult}[]; '' where it is too large for an event: read the ledger. */
  readonly results: string;
  /** JSON of a WireError where the whole job was refused or set aside; else ''. */
  readonly error: string;
  /**
   * Set where the answer waited for the replica: when it had the commit, decimal ms since the epoch; '0' where it was waited for in vain.
   * A broker that knows no replicas never sets it.
   */
  readonly replicatedAt?: string | undefined;
}

/** Says that two writes have the same sender, and not who that is. */
export const SENDER_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;

/** Whether a job has a write of this sender, by its data. A text in it with this look has its quotes escaped. */
export function hasWriteOf(data: string, sender: string): boolean {
  return data.includes(encodeSender(sender));
}

/** The member of an operation that says who sent it. */
export function encodeSender(sender: string): string {
  return `,"o":"${sender}"`;
}

/** Parses a job's data. @throws OnewriterError UNSUPPORTED_VERSION, INVALID_ARGUMENT */
export function parseWriteJob(json: string): WriteJobMessage {
  let message: WriteJobMessage;
  try {
    message = JSON.parse(json);
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The job is not JSON.', {}, cause);
  }
  if (message === null || typeof message !== 'object') {
    throw new OnewriterError('INVALID_ARGUMENT', 'The job is not an object.');
  }
  assertVersion(message.v, 'job');
  if (
    typeof message.client !== 'string' ||
    !Array.isArray(message.sql) ||
    !Array.isArray(message.ops) ||
    message.ops.length === 0
  ) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The job lacks client, sql or ops.');
  }
  return message;
}

/** In the order in which the SDK writes them; a job of another producer is just not traced. */
const TRACED_HEAD = /^\{"v":\d+,"client":"[\w-]+","seq":\d+,"at":\d+(?:,"dir":"[\w-]+")?,"tp":\[([^\]]*)\]/;

/** The spans that a job's writes belong to, read from the beginning of its data. */
export function readTraceparents(json: string): readonly TraceParent[] {
  const texts = TRACED_HEAD.exec(json)?.[1]?.split(',', LIMITS.maxTracedWrites) ?? [];
  return texts.map(text => parseTraceparent(text.slice(1, -1))).filter(parent => parent !== undefined);
}

const LIVE_HEAD =
  /^\{"v":\d+,"client":"([\w-]{1,80})","seq":\d+,"at":\d+(?:,"dir":"[\w-]+")?(?:,"tp":\[[^\]]*\])?,"live":1,/;

/** The client of a job that is `live`, read from the beginning of its data; undefined for any other job. */
export function readLiveClient(json: string): string | undefined {
  return LIVE_HEAD.exec(json)?.[1];
}

/** As the SDK writes it. */
const KNOWN_HEAD = `{"v":${PROTOCOL_VERSION},`;

/** The version of a job that this side does not know; undefined for a job that it knows, and for what is no message at all. */
export function unknownVersionOf(json: string): number | undefined {
  if (json.startsWith(KNOWN_HEAD)) return undefined;
  let version: unknown;
  try {
    version = (JSON.parse(json) as { v?: unknown } | null)?.v;
  } catch {
    return undefined; // refused as unreadable
  }
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version <= 0) return undefined;
  return version === PROTOCOL_VERSION ? undefined : version;
}

/** Refuses a message of another version. @throws OnewriterError UNSUPPORTED_VERSION */
export function assertVersion(version: unknown, what: string): void {
  if (Number(version) === PROTOCOL_VERSION) return;
  throw new OnewriterError(
    'UNSUPPORTED_VERSION',
    `This side speaks version ${PROTOCOL_VERSION} and got a ${what} of version ${String(version)}; update the older side.`,
  );
}
