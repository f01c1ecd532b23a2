import {
  describeStatement,
  newDurableJobId,
  newJobId,
  newReadJobId,
  newStepsJobId,
  PROTOCOL_VERSION,
  type WireOperationResult,
} from '@onewriter/protocol';
import { now } from '../waits.ts';
import type { EncodedWrite } from './encoded-write.ts';
import type { PendingWrite } from './pending-write.ts';
import { formatTail } from './sealed-write.ts';

/** A job on its way: the writes that travel together, and what is known of it. */
export class OutboundJob {
  readonly id: string;
  readonly tenant: string;
  readonly seq: number;
  /** Its writes are reads: no ledger has them, and they may be sent again. */
  readonly isRead: boolean;
  /** What people see in the dashboard: `acme · 3 writes · INSERT INTO tasks …`. */
  readonly name: string;
  /** In order; a write's index here is the one in its receipt. Empty once all callers have their answers. */
  writes: readonly PendingWrite[];
  /** Size of its message, in characters, or in bytes where it has a sealed write. */
  readonly size: number;
  /** When its oldest write was issued, and when it was made; on the clock of now(). */
  issuedAt = 0;
  readonly madeAt = now();
  /** When the queue is known to have it, on the clock of now(). */
  acceptedAt: number | undefined;
  /** Writes whose callers still wait. */
  open: number;
  /** Its callers are answered when the replica has it: it asks for that, or its tenant has the durability `sync`. */
  waitsForReplica: boolean;
  /** Called when the last of them has its answer. */
  onDone: (() => void) | undefined;
  #message: string | Buffer | undefined;

  /**
   * @param traceparents of the writes that are traced
   * @param dir of the data directory that the client reads
   */
  constructor(
    client: string,
    tenant: string,
    seq: number,
    writes: readonly PendingWrite[],
    traceparents: readonly string[] = [],
    dir?: string,
  ) {
    const payload = writes[0]?.payload;
    this.isRead = payload?.isRead === true;
    this.waitsForReplica = payload?.durable === true;
    this.id = newIdFor(payload);
    this.tenant = tenant;
    this.seq = seq;
    this.writes = writes;
    this.open = writes.length;
    this.name = describeJob(tenant, writes);
    this.#message = formatMessage(client, seq, writes, traceparents, dir);
    this.size = this.#message.length;
    for (let index = 0; index < writes.length; index++) {
      writes[index]!.job = this;
      writes[index]!.index = index;
    }
  }

  /** JSON of the WriteJobMessage; '' once the queue has it. */
  get message(): string | Buffer {
    return this.#message ?? '';
  }

  /** The queue has it. */
  accept(now: number): void {
    this.acceptedAt ??= now;
    this.#message = undefined;
    for (const write of this.writes) write.accept();
  }

  /** It was certainly not accepted: its writes are buffered again and can go with another job. */
  dissolve(): readonly PendingWrite[] {
    for (const write of this.writes) {
      write.job = undefined;
      write.index = -1;
      if (write.settled) write.dropPayload();
    }
    return this.writes.filter(write => !write.settled);
  }

  /**
   * Results are known. A write without one stays open: it is not for us to guess.
   * @param results by index of the write
   * @param replicatedAt see SettledEvent; 0: waited for in vain
   */
  finish(
    results: readonly (WireOperationResult | undefined)[],
    commitSeq: number,
    now: number,
    replicatedAt?: number | undefined,
  ): void {
    this.accept(now);
    for (let index = 0; index < results.length && index < this.writes.length; index++) {
      const result = results[index];
      if (result !== undefined) this.writes[index]!.finish(result, commitSeq, replicatedAt);
    }
  }

  onWriteSettled(): void {
    if (--this.open > 0) return;
    this.onDone?.();
    // The job may still be on its way, and its writes will not go into another one.
    if (this.acceptedAt === undefined) for (const write of this.writes) write.dropPayload();
    // A Map that jobs come into and leave keeps those of its outgrown tables from the young generation's collector
    // (V8 links the tables): the garbage of a job must be small.
    this.writes = [];
  }
}

function newIdFor(payload: EncodedWrite | undefined): string {
  if (payload?.isRead === true) return newReadJobId();
  if (payload?.alone !== undefined) return newStepsJobId(payload.alone);
  return payload?.durable ? newDurableJobId() : newJobId();
}

/** Size of a message without its writes and SQL texts, roughly. */
export const MESSAGE_OVERHEAD_BYTES = 160;

/** The statement described last, which is often the next one's too. */
let lastSql = '';
let lastDescription = '';

function describeJob(tenant: string, writes: readonly PendingWrite[]): string {
  const count = writes.length;
  const payload = writes[0]?.payload;
  if (payload?.alone !== undefined) return describeSteps(tenant, payload);
  if (payload?.sealed !== undefined) return `${tenant} · 1 write · ${payload.sealed.description}`;
  const first = payload?.sql[0] ?? '';
  if (first !== lastSql) {
    lastDescription = describeStatement(first);
    lastSql = first;
  }
  const what = payload?.isRead ? 'read' : 'write';
  return `${tenant} · ${count} ${what}${count === 1 ? '' : 's'} · ${lastDescription}`;
}

/** For a transaction, its first statement says more than its BEGIN. */
function describeSteps(tenant: string, { alone, sql }: EncodedWrite): string {
  const what = alone === 's' ? 'transaction continues' : 'steps';
  const statement = sql.length > 1 && /^\s*begin\b/i.test(sql[0]!) ? sql[1]! : sql[0]!;
  return `${tenant} · ${what} · ${describeStatement(statement)}`;
}

function formatMessage(
  client: string,
  seq: number,
  writes: readonly PendingWrite[],
  traceparents: readonly string[],
  dir: string | undefined,
): string | Buffer {
  const head = formatHead(client, seq, writes, traceparents, dir);
  const sealed = writes[0]?.payload?.sealed;
  if (sealed !== undefined) return Buffer.concat([Buffer.from(head), sealed.tail]);
  const indexes = new Map<string, number>();
  const operations: string[] = [];
  for (const { payload } of writes) {
    if (payload === undefined) throw new TypeError('A write that was already sent cannot be sent again.');
    const own: number[] = [];
    for (const sql of payload.sql) {
      let index = indexes.get(sql);
      if (index === undefined) {
        index = indexes.size;
        indexes.set(sql, index);
      }
      own.push(index);
    }
    operations.push(payload.format(own));
  }
  return head + formatTail(indexes.keys(), operations);
}

/** The beginning of the message's JSON, up to its SQL texts. */
function formatHead(
  client: string,
  seq: number,
  writes: readonly PendingWrite[],
  traceparents: readonly string[],
  dir: string | undefined,
): string {
  const head = `{"v":${PROTOCOL_VERSION},"client":${JSON.stringify(client)},"seq":${seq},"at":${Date.now()}`;
  const directory = dir === undefined ? '' : `,"dir":${JSON.stringify(dir)}`;
  const traced = traceparents.length === 0 ? '' : `,"tp":${JSON.stringify(traceparents)}`;
  const live = writes[0]?.payload?.live ? ',"live":1' : '';
  return head + directory + traced + live;
}
