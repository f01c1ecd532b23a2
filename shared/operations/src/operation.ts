import type { WireError } from '@onewriter/protocol';

/*
 * Long work, as all processes of a group see it:
 *
 *   queued ──▶ running ──▶ done
 *      │          ├──────▶ failed        with an error, and with a result where a part was done
 *      ├──────────┼──────▶ cancelled     a person asked for it
 *      └──────────┴──────▶ interrupted   its process ended, or is gone: it has not renewed its record
 *
 * A process that was stopped or cut off from Redis renews its record again: so `interrupted` may become `running`, or how it
 * really ended.
 */

/** What long work there is. */
export const OPERATION_KINDS = [
  ...(['backup', 'restore', 'check', 'import', 'export', 'adopt', 'release'] as const),
] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];

export const OPERATION_STATES = ['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted'] as const;
export type OperationState = (typeof OPERATION_STATES)[number];

/** How an operation can end. */
export type EndState = Exclude<OperationState, 'queued' | 'running'>;

/** How far it is. */
export interface OperationProgress {
  readonly done: number;
  /** Null where the end is not known. */
  readonly total: number | null;
  /** What is counted: `tenants`. */
  readonly unit: string;
  /** Units a second, since it runs; null before the first. */
  readonly perSecond: number | null;
  /** How long the rest takes at that rate; null where it is not known. */
  readonly remainingMs: number | null;
}

/** Long work. */
export interface Operation {
  readonly id: string;
  readonly kind: OperationKind;
  readonly state: OperationState;
  /** Who started it, for people. */
  readonly who: string;
  /** Null: all tenants of the group, or more than a record lists. */
  readonly tenants: readonly string[] | null;
  /** What its kind does not say, for people: a backup's name. */
  readonly detail: string;
  /** ISO times. */
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly progress: OperationProgress;
  /** Who asked to stop it. */
  readonly cancelledBy: string | null;
  readonly result: unknown;
  readonly error: WireError | null;
  /** Lines that it wrote in all; the newest of them are kept. */
  readonly logged: number;
}

/** An operation with its newest lines, the oldest first. */
export interface OperationWithLog extends Operation {
  readonly log: readonly string[];
}

/** A record that was not renewed for so long is that of a process that is gone. */
export const LOST_AFTER_MS = 20_000;
/** Names in a record; more are recorded as all. */
export const MAX_NAMED_TENANTS = 100;

export function isEnded(state: OperationState): state is EndState {
  return state !== 'queued' && state !== 'running';
}

const ID = /^op-[0-9a-f-]{36}$/;

/** Whether a text can be an operation's id. */
export function isOperationId(text: string): boolean {
  return ID.test(text);
}

/** Rate and time that is left. @param elapsedMs since it runs */
export function measureProgress(
  done: number,
  total: number | null,
  unit: string,
  elapsedMs: number,
): OperationProgress {
  const perSecond = done > 0 && elapsedMs > 0 ? (done / elapsedMs) * 1_000 : null;
  const left = total === null ? null : Math.max(0, total - done);
  const remainingMs = left === null || perSecond === null ? null : Math.round((left / perSecond) * 1_000);
  return { done, total, unit, perSecond, remainingMs };
}

/** Fields of a record in Redis, as they are there. */
export type RecordFields = Readonly<Record<string, string>>;

/**
 * What a record says.
 * @param nowMs by Redis' clock, as the times in the record are
 * @returns undefined for one that is not there
 */
export function readRecord(id: string, fields: RecordFields, nowMs: number): Operation | undefined {
  const { kind, state, who = '', tenants, detail = '', unit = '' } = fields;
  if (!isOneOf(OPERATION_KINDS, kind) || !isOneOf(OPERATION_STATES, state)) return undefined;
  const renewedMs = Number(fields['renewedAt']);
  const isLost = !isEnded(state) && nowMs - renewedMs > LOST_AFTER_MS;
  const startedMs = numberOf(fields['startedAt']);
  const endedMs = isLost ? renewedMs : numberOf(fields['endedAt']);
  const elapsedMs = startedMs === null ? 0 : (endedMs ?? nowMs) - startedMs;
  const done = Number(fields['done'] ?? 0);
  const progress = measureProgress(done, numberOf(fields['total']), unit, elapsedMs);
  const ended = isLost || isEnded(state);
  return {
    id,
    kind,
    state: isLost ? 'interrupted' : state,
    who,
    tenants: tenants === undefined ? null : (JSON.parse(tenants) as string[]),
    detail,
    createdAt: toIso(Number(fields['createdAt'])),
    startedAt: startedMs === null ? null : toIso(startedMs),
    endedAt: endedMs === null ? null : toIso(endedMs),
    progress: ended ? { ...progress, remainingMs: null } : progress,
    cancelledBy: fields['cancelledBy'] ?? null,
    result: fields['result'] === undefined ? null : JSON.parse(fields['result']),
    error: isLost ? LOST : fields['error'] === undefined ? null : (JSON.parse(fields['error']) as WireError),
    logged: Number(fields['logged'] ?? 0),
  };
}

const LOST: WireError = Object.freeze({
  code: 'ABORTED',
  message: 'The process that carried it out is gone, or cut off from Redis.',
});

function isOneOf<T extends string>(values: readonly T[], value: string | undefined): value is T {
  return (values as readonly (string | undefined)[]).includes(value);
}

function numberOf(text: string | undefined): number | null {
  return text === undefined ? null : Number(text);
}

function toIso(ms: number): string {
  return new Date(ms).toISOString();
}
