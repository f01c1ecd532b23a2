import {
  assertTenantId,
  backOffMs,
  type ErrorCode,
  fromWireError,
  GatewayClient,
  type HistoryPoint,
  isOnewriterError,
  OnewriterError,
  type WireError,
} from '@onewriter/protocol';
import type { WaitOptions } from '../wait-options.ts';
import { assertNotAborted, dueAt, now, pause } from '../waits.ts';
import type { Branch, BranchOptions, HistoryOptions } from './replica-types.ts';

/** Settings of {@link GatewayReplica}. */
export interface GatewayReplicaOptions {
  readonly gatewayUrl: string | undefined;
  readonly token: string | undefined;
  /** Deadline of a call whose caller names none. */
  readonly timeoutMs: number;
}

/** The record of long work, as `/v1/operations` has it. */
interface Operation {
  readonly id: string;
  readonly state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted';
  readonly result: unknown;
  readonly error: WireError | null;
}

const BRANCH_TIMEOUT_MS = 10 * 60_000;
/** How often the gateway is asked whether a branch is there. */
const ASK = Object.freeze({ firstMs: 100, maxMs: 2_000 });
/** What a gateway that is replaced, or busy, answers meanwhile. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'TENANT_UNAVAILABLE',
  'TIMEOUT',
  'RATE_LIMITED',
  'QUEUE_UNAVAILABLE',
]);
/** One question. */
const ASK_TIMEOUT_MS = 10_000;

/** The replica, through a gateway: only that and the broker have its credentials. */
export class GatewayReplica {
  readonly #client: GatewayClient | undefined;
  readonly #timeoutMs: number;
  readonly #closing = new AbortController();

  constructor({ gatewayUrl, token, timeoutMs }: GatewayReplicaOptions) {
    this.#client = gatewayUrl === undefined ? undefined : new GatewayClient({ url: gatewayUrl, token });
    this.#timeoutMs = timeoutMs;
  }

  async history(tenant: string, { limit, ...wait }: HistoryOptions): Promise<readonly HistoryPoint[]> {
    const query = limit === undefined ? '' : `?limit=${limit}`;
    const path = `/v1/tenants/${tenant}/history${query}`;
    const due = dueAt(wait, this.#timeoutMs);
    const { points } = await this.#ask<{ points: HistoryPoint[] }>(path, tenant, due, wait);
    return points;
  }

  async branch(tenant: string, { as, at, ...wait }: BranchOptions): Promise<Branch> {
    const due = dueAt(wait, BRANCH_TIMEOUT_MS);
    const json = { as: assertTenantId(as), at: at instanceof Date ? at.toISOString() : at };
    const { id } = await this.#ask<Operation>(`/v1/tenants/${tenant}/branch`, tenant, due, wait, json);
    try {
      return await this.#awaitBranch(id, as, due, wait);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      const details = { ...error.details, operation: id };
      throw new OnewriterError(error.code, error.message, details, error.cause);
    }
  }

  close(): void {
    this.#closing.abort();
  }

  async #awaitBranch(id: string, tenant: string, due: number, wait: WaitOptions): Promise<Branch> {
    for (let asked = 1; now() < due; asked++) {
      await pause(Math.min(backOffMs(asked, ASK), due - now()), this.#signalOf(wait));
      const operation = await this.#look(id, tenant, due, wait);
      if (operation === undefined || operation.state === 'queued' || operation.state === 'running') continue;
      if (operation.state === 'done') return pickBranch(operation.result as Branch);
      const { error, state } = operation;
      throw error === null
        ? new OnewriterError('INTERNAL', `The branch ${tenant} was ${state}.`, { tenant })
        : fromWireError(error);
    }
    const message = `The branch ${tenant} is not there yet; the work on it continues.`;
    throw new OnewriterError('TIMEOUT', message, { tenant });
  }

  /** Undefined where the gateway does not answer now: the work does not depend on that. */
  async #look(id: string, tenant: string, due: number, wait: WaitOptions): Promise<Operation | undefined> {
    try {
      return await this.#ask(`/v1/operations/${id}`, tenant, Math.min(due, now() + ASK_TIMEOUT_MS), wait);
    } catch (error) {
      if (isOnewriterError(error) && PASSING.has(error.code)) return undefined;
      throw error;
    }
  }

  async #ask<T>(
    path: string,
    tenant: string,
    due: number,
    { signal }: WaitOptions,
    json?: object,
  ): Promise<T> {
    assertNotAborted(signal);
    const closing = this.#closing.signal;
    try {
      return await this.#requireClient(tenant).json<T>(path, {
        ...{ json, tenant, signal: this.#signalOf({ signal }) },
        timeoutMs: Math.max(1, Math.ceil(due - now())),
      });
    } catch (error) {
      if (!closing.aborted || signal?.aborted || !isOnewriterError(error, 'ABORTED')) throw error;
      throw new OnewriterError('CLOSED', 'The client is closed.', { tenant });
    }
  }

  #signalOf({ signal }: WaitOptions): AbortSignal {
    const closing = this.#closing.signal;
    return signal === undefined ? closing : AbortSignal.any([closing, signal]);
  }

  #requireClient(tenant: string): GatewayClient {
    if (this.#client !== undefined) return this.#client;
    throw new OnewriterError(
      'MISCONFIGURED',
      'history() and branch() go through a gateway: give connect() its gatewayUrl, and a token with the right admin:tenants.',
      { tenant },
    );
  }
}

function pickBranch({ tenant, pointCommitSeq, atMs, commitSeq, rows, tables }: Branch): Branch {
  return { tenant, pointCommitSeq, atMs, commitSeq, rows, tables };
}
