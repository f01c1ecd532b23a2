import assert from 'node:assert/strict';
import { groupKeys, OnewriterError, uuidv7, type WireError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { ADD_OPERATION, CANCEL_OPERATION, END_OPERATION, RENEW_OPERATION } from './lua-scripts.ts';
import {
  type EndState,
  isOperationId,
  MAX_NAMED_TENANTS,
  type Operation,
  type OperationKind,
  type OperationWithLog,
  type RecordFields,
  readRecord,
} from './operation.ts';

/** Operations of a group that are kept: together they take less than 20 MB of Redis. */
const MAX_OPERATIONS = 200;
/** A record that is not written for so long goes. */
const LIFE_MS = 14 * 24 * 60 * 60_000;
export const MAX_LOG_LINES = 200;
const MAX_LINE_LENGTH = 300;
const MAX_ERROR_LENGTH = 1_000;
const MAX_WHO_LENGTH = 200;
const MAX_DETAIL_LENGTH = 300;
/** Of a result, as JSON. */
const MAX_RESULT_LENGTH = 64 * 1024;
const LOG = ':log';
/** What a list needs of a record. */
const LISTED_FIELDS = [
  ...['kind', 'state', 'who', 'tenants', 'detail', 'unit', 'done', 'total', 'logged', 'error'],
  ...['createdAt', 'startedAt', 'endedAt', 'renewedAt', 'cancelledBy'],
];

/** What is known of an operation when it begins. */
export interface NewOperation {
  readonly kind: OperationKind;
  readonly who: string;
  /** Null: all tenants of the group. */
  readonly tenants: readonly string[] | null;
  readonly detail?: string | undefined;
  /** What its progress counts. */
  readonly unit: string;
}

/** What changed since a record was last renewed. */
export interface Renewal {
  readonly state: 'queued' | 'running';
  readonly done: number;
  readonly total: number | null;
  readonly lines: readonly string[];
  /** Lines before these that were too many to keep. */
  readonly skipped: number;
}

/** A new operation's id. */
export function newOperationId(): string {
  return `op-${uuidv7()}`;
}

/** The records of a group's operations. Every method throws Error of Redis. */
export class OperationStore {
  readonly #redis: Redis;
  readonly #index: string;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#index = groupKeys(group).operations;
  }

  /** Writes a record, also again where Redis has lost it. */
  async add(id: string, operation: NewOperation, state: Renewal['state']): Promise<void> {
    const { kind, who, tenants, detail = '', unit } = operation;
    const fields: Record<string, string> = {
      kind,
      who: who.slice(0, MAX_WHO_LENGTH),
      detail: detail.slice(0, MAX_DETAIL_LENGTH),
      unit,
    };
    if (tenants !== null && tenants.length <= MAX_NAMED_TENANTS) fields['tenants'] = JSON.stringify(tenants);
    await this.#redis.eval(
      ADD_OPERATION,
      2,
      this.#index,
      this.#record(id),
      id,
      this.#record(''),
      LOG,
      LIFE_MS,
      MAX_OPERATIONS,
      state,
      ...Object.entries(fields).flat(),
    );
  }

  /** @returns who asked to stop it, or ''; undefined where there is no record */
  async renew(id: string, { state, done, total, lines, skipped }: Renewal): Promise<string | undefined> {
    const kept = lines.map(line => line.slice(0, MAX_LINE_LENGTH));
    const reply = await this.#redis.eval(
      RENEW_OPERATION,
      2,
      this.#record(id),
      this.#record(id) + LOG,
      LIFE_MS,
      MAX_LOG_LINES,
      state,
      done,
      total ?? '',
      skipped,
      ...kept,
    );
    return (reply as string | null) ?? undefined;
  }

  /** @returns whether there is a record */
  async end(id: string, state: EndState, result: unknown, error: WireError | undefined): Promise<boolean> {
    const json = result === undefined ? '' : JSON.stringify(result);
    assert(json.length <= MAX_RESULT_LENGTH, 'The result of an operation is larger than a record may be.');
    const failure = error === undefined ? '' : JSON.stringify(boundError(error));
    return (await this.#redis.eval(END_OPERATION, 1, this.#record(id), state, json, failure)) === 1;
  }

  /** Asks the process that carries it out to stop. @returns false where it has ended, or is not there */
  async cancel(id: string, who: string): Promise<boolean> {
    const by = who.slice(0, MAX_WHO_LENGTH);
    return (await this.#redis.eval(CANCEL_OPERATION, 1, this.#record(id), by)) === 1;
  }

  /** Undefined where there is none. */
  async find(id: string): Promise<OperationWithLog | undefined> {
    if (!isOperationId(id)) return undefined;
    const record = this.#record(id);
    const [fields, log, nowMs] = await Promise.all([
      this.#redis.hgetall(record),
      this.#redis.lrange(record + LOG, 0, -1),
      this.#now(),
    ]);
    const operation = readRecord(id, fields, nowMs);
    return operation === undefined ? undefined : { ...operation, log };
  }

  /** @throws OnewriterError NOT_FOUND */
  async get(id: string): Promise<OperationWithLog> {
    const operation = await this.find(id);
    if (operation === undefined) throw noSuchOperation(id);
    return operation;
  }

  /** All that are kept, the newest first, without their results, which may be large. */
  async list(): Promise<Operation[]> {
    const ids = await this.#redis.zrevrange(this.#index, 0, MAX_OPERATIONS - 1);
    const [records, nowMs] = await Promise.all([
      Promise.all(ids.map(id => this.#redis.hmget(this.#record(id), ...LISTED_FIELDS))),
      this.#now(),
    ]);
    // A record may expire between the two.
    return records.flatMap((values, place) => readRecord(ids[place]!, toFields(values), nowMs) ?? []);
  }

  #record(id: string): string {
    return `${this.#index}:${id}`;
  }

  async #now(): Promise<number> {
    const [seconds, micros] = await this.#redis.time();
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }
}

function toFields(values: readonly (string | null)[]): RecordFields {
  const there = LISTED_FIELDS.map((name, place) => [name, values[place]]);
  return Object.fromEntries<string>(
    there.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

export function noSuchOperation(id: string): OnewriterError {
  return new OnewriterError(
    'NOT_FOUND',
    `There is no operation ${id.slice(0, 100)}; old ones are forgotten.`,
  );
}

/** What people need of an error. */
function boundError({ code, message }: WireError): WireError {
  return { code, message: message.slice(0, MAX_ERROR_LENGTH) };
}

/** As many of a result's items, from the first, as fit into a record. */
export function firstFitting<T>(items: readonly T[]): readonly T[] {
  let length = 0;
  const end = items.findIndex(item => {
    length += JSON.stringify(item).length + 1;
    return length > MAX_RESULT_LENGTH / 2;
  });
  return end < 0 ? items : items.slice(0, end);
}
