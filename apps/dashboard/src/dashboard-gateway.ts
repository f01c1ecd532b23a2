import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  fromWireError,
  GATEWAY_NOT_REACHABLE,
  GatewayClient,
  type HistoryPoint,
  OnewriterError,
  type WireError,
  type WireValue,
} from '@onewriter/protocol';
import type { TenantState } from '@onewriter/tenants';

/*
 * What is in a tenant's file is the gateway's to read: it has the processes that can be killed, and the bounds.
 * It is asked with the token of the person who looks, so that it decides what that
 * person may do, and its audit trail has who it was.
 */

/** What the gateway knows of a tenant. */
export interface TenantInfo {
  readonly tenant: string;
  readonly state: TenantState;
  readonly bytes: number | null;
  readonly walBytes: number | null;
  /** Set where its file lies in the replica only. Absent in the answers of older gateways. */
  readonly hibernated?: { readonly bytes: number; readonly since: string } | null | undefined;
  readonly commitSeq: number | null;
  readonly lastWrite: string | null;
}

/** A tenant's schema, as `GET /v1/tenants/:tenant/schema` answers it. */
export interface TenantSchema {
  readonly schemaVersion: number;
  readonly userVersion: number;
  readonly tables: readonly {
    readonly name: string;
    readonly type: 'table' | 'view' | 'virtual' | 'shadow';
    readonly strict: boolean;
    readonly withoutRowid: boolean;
    readonly sql: string | null;
    /** Why SQLite cannot use it here. */
    readonly error?: string | null | undefined;
    /** false: looking at it took too long, as `error` says. */
    readonly described?: boolean | undefined;
    readonly columns: readonly {
      readonly name: string;
      readonly type: string;
      readonly notNull: boolean;
      readonly default: string | null;
      readonly primaryKey: number;
      readonly hidden: boolean;
      readonly generated: boolean;
    }[];
    readonly foreignKeys: readonly {
      readonly columns: readonly string[];
      readonly table: string;
      readonly references: readonly (string | null)[];
      readonly onDelete: string;
    }[];
    readonly indexes: readonly {
      readonly name: string;
      readonly unique: boolean;
      readonly partial: boolean;
      readonly origin: 'c' | 'u' | 'pk';
      readonly columns: readonly (string | null)[];
      readonly sql: string | null;
      readonly error?: string | null | undefined;
    }[];
  }[];
  readonly triggers: readonly {
    readonly name: string;
    readonly table: string;
    readonly sql: string;
    readonly error?: string | null | undefined;
  }[];
}

/** What a check of a whole file found. */
export interface FileCheck {
  /** `ok`, or what is wrong, a line each. */
  readonly integrity: string;
  /** Tables that SQLite could not check here. */
  readonly unchecked: readonly { readonly name: string; readonly error: string }[];
}

/** Rows of a read, values tagged. */
export interface QueryRows {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly WireValue[])[];
  /** Whether there were more rows than were asked for. */
  readonly more: boolean;
}

/** Who asks, and for how long. */
export interface GatewayCall {
  readonly token: string;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

const TIMEOUT_MS = 10_000;
/** A check reads the whole file; the gateway stops it after 30 s, unless it was set otherwise. */
const CHECK_TIMEOUT_MS = 120_000;
/** A point is restored first, which the gateway stops after two minutes. */
const RESTORE_TIMEOUT_MS = 150_000;
/** A history is read in a process of the gateway, stopped after a minute. */
const HISTORY_TIMEOUT_MS = 70_000;
/** The replica is asked for all of the file, which a busy broker may have to store first. */
const HIBERNATE_TIMEOUT_MS = 180_000;
const WAKE_TIMEOUT_MS = 60_000;
const FRESH_MS = 2_000;
/** Limit for all rows of an answer. */
const MAX_CHARACTERS = 8 * 1024 * 1024;

/** The gateway's native API, as far as the dashboard needs it. */
export class DashboardGateway {
  readonly #configured: string | undefined;
  readonly #runFile: string;
  #found: { readonly url: string | undefined; readonly until: number } | undefined;

  /** @param configured its URL; without it, that of the gateway that `onewriter up` runs on the same data directory */
  constructor(configured: string | undefined, dataDir: string) {
    this.#configured = configured;
    this.#runFile = join(dataDir, 'onewriter.json');
  }

  async info(tenant: string, call: GatewayCall): Promise<TenantInfo> {
    return this.#ask<TenantInfo>(`/v1/tenants/${tenant}`, call);
  }

  async schema(tenant: string, call: GatewayCall): Promise<TenantSchema> {
    return this.#ask<TenantSchema>(`/v1/tenants/${tenant}/schema`, call);
  }

  /** Checks the whole file. */
  async check(tenant: string, call: GatewayCall): Promise<FileCheck> {
    const { integrity, unchecked = [] } = await this.#ask<Partial<FileCheck>>(`/info/${tenant}?check=full`, {
      timeoutMs: CHECK_TIMEOUT_MS,
      ...call,
    });
    return { integrity: String(integrity), unchecked };
  }

  /** Starts a backup of all tenants, or of one. @returns the operation's id */
  async startBackup(tenant: string | undefined, call: GatewayCall): Promise<string> {
    const tenants = tenant === undefined ? '*' : [tenant];
    const { id } = await this.#ask<{ readonly id: string }>('/v1/operations', call, {
      kind: 'backup',
      tenants,
    });
    return id;
  }

  /**
   * Runs one statement that reads, and stops it after `maxRows` rows. The caller has made sure that it reads: the gateway
   * would have anything else written.
   */
  read(tenant: string, sql: string, maxRows: number, call: GatewayCall): Promise<QueryRows> {
    const json = { sql, values: 'tagged', method: 'values' };
    return this.#read(`/v1/tenants/${tenant}/query`, json, maxRows, call);
  }

  /** As {@link read}, on the tenant as it was at a point. */
  readAt(tenant: string, at: string, sql: string, maxRows: number, call: GatewayCall): Promise<QueryRows> {
    const json = { at, sql, values: 'tagged' };
    const patient = { timeoutMs: RESTORE_TIMEOUT_MS, ...call };
    return this.#read(`/v1/tenants/${tenant}/history/query`, json, maxRows, patient);
  }

  /** Takes its file away; nothing has changed where this throws. */
  async hibernate(tenant: string, call: GatewayCall): Promise<void> {
    await this.#ask(`/v1/tenants/${tenant}/hibernate`, { timeoutMs: HIBERNATE_TIMEOUT_MS, ...call }, {});
  }

  /** Brings it back. */
  async wake(tenant: string, call: GatewayCall): Promise<void> {
    await this.#ask(`/v1/tenants/${tenant}/wake`, { timeoutMs: WAKE_TIMEOUT_MS, ...call }, {});
  }

  /** The points that a tenant can be restored to, the newest first. */
  async history(tenant: string, limit: number, call: GatewayCall): Promise<readonly HistoryPoint[]> {
    const path = `/v1/tenants/${tenant}/history?limit=${limit}`;
    const patient = { timeoutMs: HISTORY_TIMEOUT_MS, ...call };
    return (await this.#ask<{ readonly points: readonly HistoryPoint[] }>(path, patient)).points;
  }

  /** Starts a restore. The caller has asked for confirmation. @param as undefined: in the tenant's place @returns the operation's id */
  async startRestore(tenant: string, at: string, as: string | undefined, call: GatewayCall): Promise<string> {
    const json = as === undefined ? { at, replace: true } : { at, as };
    const client = await this.#clientOf(call);
    const { id } = await client.json<{ readonly id: string }>(`/v1/tenants/${tenant}/restore`, {
      ...{ json, headers: { 'confirm-replace': tenant } },
      ...{ timeoutMs: call.timeoutMs ?? TIMEOUT_MS, signal: call.signal },
    });
    return id;
  }

  async #read(path: string, json: object, maxRows: number, call: GatewayCall): Promise<QueryRows> {
    const enough = new AbortController();
    const signal = call.signal === undefined ? enough.signal : AbortSignal.any([enough.signal, call.signal]);
    const client = await this.#clientOf(call);
    const request = { timeoutMs: call.timeoutMs ?? TIMEOUT_MS, signal };
    const headers = { accept: 'application/x-ndjson' };
    const response = await client.request(path, { ...request, headers, json });
    let columns: readonly string[] = [];
    const rows: (readonly WireValue[])[] = [];
    try {
      let characters = 0;
      for await (const line of linesOf(response.body!)) {
        characters += line.length;
        if (characters > MAX_CHARACTERS && rows.length > 0) return { columns, rows, more: true };
        const value = JSON.parse(line) as readonly WireValue[] | Record<string, unknown>;
        if (Array.isArray(value)) {
          if (rows.length === maxRows) return { columns, rows, more: true };
          rows.push(value);
        } else if ('error' in value) throw fromWireError((value as { error: WireError }).error);
        else if ('columns' in value) columns = (value as { columns: string[] }).columns;
        else return { columns, rows, more: false };
      }
    } catch (error) {
      throw client.toError(error, request);
    } finally {
      enough.abort();
    }
    throw new OnewriterError('INTERNAL', 'The gateway’s answer broke off.');
  }

  async #ask<T>(path: string, call: GatewayCall, json?: object): Promise<T> {
    const client = await this.#clientOf(call);
    return client.json<T>(path, { json, timeoutMs: call.timeoutMs ?? TIMEOUT_MS, signal: call.signal });
  }

  /** @throws OnewriterError MISCONFIGURED */
  async #clientOf({ token }: GatewayCall): Promise<GatewayClient> {
    const url = await this.#locate();
    if (url !== undefined) return new GatewayClient({ url, token, redirect: 'error', explain });
    throw new OnewriterError(
      'MISCONFIGURED',
      'The gateway reads tenants’ files for the dashboard, and the dashboard does not know where it is: set ONEWRITER_GATEWAY_URL.',
    );
  }

  async #locate(): Promise<string | undefined> {
    if (this.#configured !== undefined) return this.#configured;
    if (this.#found === undefined || performance.now() > this.#found.until) {
      let url: string | undefined;
      try {
        const { gatewayUrl } = JSON.parse(await readFile(this.#runFile, 'utf8')) as { gatewayUrl?: unknown };
        if (typeof gatewayUrl === 'string') url = gatewayUrl;
      } catch {
        // not run by `onewriter up`: the caller says what to set
      }
      this.#found = { url, until: performance.now() + FRESH_MS };
    }
    return this.#found.url;
  }
}

/** What a person who looks can do about it. */
function explain(error: OnewriterError): OnewriterError {
  if (error.details.reason === GATEWAY_NOT_REACHABLE) {
    const message = `${error.message} Is it running? ONEWRITER_GATEWAY_URL says where it is.`;
    return new OnewriterError(error.code, message, error.details, error);
  }
  if (error.code === 'UNAUTHENTICATED') {
    return new OnewriterError(
      'FORBIDDEN',
      'The gateway does not accept the token that the dashboard accepts: give both the same ONEWRITER_TOKEN_SECRET (or keys).',
      {},
      error,
    );
  }
  return error;
}

/** Limit for one row. */
const MAX_LINE_CHARACTERS = 16 * 1024 * 1024;

/** Lines of an answer. Looks at each byte once: a long row arrives in many pieces. @throws OnewriterError RESULT_TOO_LARGE */
export async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  for await (const chunk of body) {
    const [first = '', ...others] = decoder.decode(chunk, { stream: true }).split('\n');
    pieces.push(first);
    length += first.length;
    for (const next of others) {
      yield pieces.join('');
      pieces = [next];
      length = next.length;
    }
    if (length > MAX_LINE_CHARACTERS)
      throw new OnewriterError('RESULT_TOO_LARGE', 'A row is too large to show.');
  }
}
