import { LIMITS, OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { Onewriter } from '@onewriter/sdk';
import { Pool } from 'undici';
import { type Answer, NOT_FROM_SQLITE } from './answer.ts';

/** Where a running Onewriter is. */
export interface StackAddress {
  readonly gatewayUrl: string;
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly token: string;
}

/** The interfaces that statements can be sent through. */
export const INTERFACES = ['sdk', 'http', 'libsql'] as const;
export type InterfaceName = (typeof INTERFACES)[number];

/** One tenant, through one interface. */
export interface Session {
  run(sql: string): Promise<Answer>;
  /** Ends an open transaction without committing it. */
  end(): Promise<void>;
}

/** The writer may be started again under a statement that takes it down. */
const HTTP_TIMEOUT_MS = 120_000;

/** Codes that say that a statement was not let through, or not to its end; each is a rule or a limit. */
const REFUSALS: ReadonlySet<string> = new Set([
  ...[
    'STATEMENT_NOT_ALLOWED',
    'STATEMENT_TOO_LARGE',
    'RESULT_TOO_LARGE',
    'STATEMENT_TIMEOUT',
    'STATEMENT_TOO_COSTLY',
    'READ_TIMEOUT',
    'READ_TOO_COSTLY',
  ],
  ...['POISON_JOB', 'SQLITE_AUTH', 'RESPONSE_TOO_LARGE'],
]);

function toFailure(code: string, message: string, sqliteCode: string | undefined): Answer {
  if (sqliteCode?.startsWith('SQLITE_')) return { type: 'error', code: sqliteCode, message };
  if (REFUSALS.has(code)) return { type: 'refused', rule: ruleOf(code, message) };
  return { type: 'error', code: code === 'INVALID_ARGUMENT' ? NOT_FROM_SQLITE : code, message };
}

/** A rule is named by the first sentence of its message, a limit by its code. */
function ruleOf(code: string, message: string): string {
  if (code !== 'STATEMENT_NOT_ALLOWED' && code !== 'SQLITE_AUTH') return code;
  return /^.*?(?=[.;:](?:\s|$)|$)/s.exec(message)![0];
}

/** `tenant.execute()` of the SDK. */
export class SdkSession implements Session {
  readonly #onewriter: Onewriter;
  readonly #tenant: string;

  constructor(onewriter: Onewriter, tenant: string) {
    this.#onewriter = onewriter;
    this.#tenant = tenant;
  }

  async run(sql: string): Promise<Answer> {
    try {
      const result = await this.#onewriter
        .tenant(this.#tenant)
        .execute(sql, [], { rowMode: 'array', safeIntegers: true });
      return {
        ...{ type: 'ok', columns: result.columns, rows: result.rows ?? [], changes: result.changes },
        lastInsertRowid: BigInt(result.lastInsertRowid),
      };
    } catch (error) {
      if (!(error instanceof OnewriterError)) throw error;
      return toFailure(error.code, error.message, error.details.sqliteCode);
    }
  }

  async end(): Promise<void> {}
}

/** Sends JSON to the gateway. */
export class CorpusGateway {
  readonly #pool: Pool;
  readonly #headers: Record<string, string>;

  constructor({ gatewayUrl, token }: StackAddress) {
    this.#pool = new Pool(gatewayUrl, {
      connections: 4,
      headersTimeout: HTTP_TIMEOUT_MS,
      bodyTimeout: HTTP_TIMEOUT_MS,
    });
    this.#headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` };
  }

  async post<Body>(path: string, body: unknown): Promise<{ status: number; body: Body }> {
    const answer = await this.#pool.request({
      path,
      method: 'POST',
      headers: this.#headers,
      body: JSON.stringify(body),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as Body };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

type TaggedValue = null | number | string | { i: string } | { b: string } | { f: string };

interface QueryBody {
  readonly columns?: string[];
  readonly rows?: TaggedValue[][];
  readonly changes?: number;
  readonly lastInsertRowid?: { i: string };
  readonly error?: { code: string; message: string; details?: { sqliteCode?: string } };
}

/** `POST /v1/tenants/:tenant/query` with tagged values. */
export class HttpSession implements Session {
  readonly #client: CorpusGateway;
  readonly #path: string;

  constructor(client: CorpusGateway, tenant: string) {
    this.#client = client;
    this.#path = `/v1/tenants/${tenant}/query`;
  }

  async run(sql: string): Promise<Answer> {
    const { body } = await this.#client.post<QueryBody>(this.#path, { sql, values: 'tagged' });
    if (body.error !== undefined) {
      return toFailure(body.error.code, body.error.message, body.error.details?.sqliteCode);
    }
    return {
      ...{ type: 'ok', columns: body.columns?.length ? body.columns : undefined, changes: body.changes ?? 0 },
      rows: (body.rows ?? []).map(row => row.map(untag)),
      lastInsertRowid: BigInt(body.lastInsertRowid?.i ?? 0),
    };
  }

  async end(): Promise<void> {}
}

function untag(value: TaggedValue): SqlValue {
  if (value === null || typeof value !== 'object') return value;
  if ('i' in value) return BigInt(value.i);
  return 'b' in value ? Buffer.from(value.b, 'base64') : Number(value.f);
}

type HranaValue =
  | { type: 'null' }
  | { type: 'integer'; value: string }
  | { type: 'float'; value: number }
  | { type: 'text'; value: string }
  | { type: 'blob'; base64: string };

interface HranaResult {
  readonly type: 'ok' | 'error';
  readonly response?: {
    readonly result?: {
      cols: { name: string }[];
      rows: HranaValue[][];
      affected_row_count: number;
      last_insert_rowid: string | null;
    };
    readonly is_autocommit?: boolean;
  };
  readonly error?: { message: string; code: string; extended_code?: string };
}

interface PipelineBody {
  readonly baton: string | null;
  readonly results?: HranaResult[];
  readonly message?: string;
  readonly code?: string;
}

/** The libSQL protocol: `v3/pipeline`, one statement a request, and a stream while a transaction is open. */
export class LibsqlSession implements Session {
  readonly #client: CorpusGateway;
  readonly #path: string;
  #baton: string | null = null;

  constructor(client: CorpusGateway, tenant: string) {
    this.#client = client;
    this.#path = `/t/${tenant}/v3/pipeline`;
  }

  async run(sql: string): Promise<Answer> {
    const execute = { type: 'execute', stmt: { sql } };
    const begins = this.#baton === null && /^\s*(?:begin|savepoint)\b/i.test(sql);
    if (this.#baton === null && !begins) return (await this.#send(execute, { type: 'close' })).answer;
    const { answer, autocommit } = await this.#send(execute, { type: 'get_autocommit' });
    if (autocommit !== false) await this.end();
    return answer.type === 'ok' ? { ...answer, autocommit } : answer;
  }

  async end(): Promise<void> {
    if (this.#baton === null) return;
    await this.#send({ type: 'close' });
    this.#baton = null;
  }

  async #send(...requests: object[]): Promise<{ answer: Answer; autocommit: boolean | undefined }> {
    const { status, body } = await this.#client.post<PipelineBody>(this.#path, {
      baton: this.#baton,
      requests,
    });
    this.#baton = body.baton ?? null;
    if (body.results === undefined) {
      const answer = toFailure(body.code ?? `HTTP ${status}`, body.message ?? '', undefined);
      return { answer, autocommit: undefined };
    }
    return { answer: fromHrana(body.results[0]!), autocommit: body.results[1]?.response?.is_autocommit };
  }
}

function fromHrana({ response, error }: HranaResult): Answer {
  if (error !== undefined) {
    // libSQL's name for what SQLite's parser refuses; ours for a text that is too long has no SQLite behind it.
    if (error.code === 'SQL_PARSE_ERROR')
      return { type: 'error', code: 'SQLITE_ERROR', message: error.message };
    if (error.code === 'ARGS_INVALID')
      return { type: 'error', code: NOT_FROM_SQLITE, message: error.message };
    if (error.code === 'SQLITE_TOOBIG' && error.message.includes(`${LIMITS.maxStatementBytes}`)) {
      return { type: 'refused', rule: 'STATEMENT_TOO_LARGE' };
    }
    const sqliteCode = error.extended_code ?? (error.code === 'SQLITE_AUTH' ? undefined : error.code);
    return toFailure(error.code, error.message, sqliteCode);
  }
  const result = response?.result;
  if (result === undefined)
    return { type: 'ok', columns: undefined, rows: [], changes: 0, lastInsertRowid: null };
  return {
    type: 'ok',
    columns: result.cols.length === 0 ? undefined : result.cols.map(({ name }) => name),
    rows: result.rows.map(row => row.map(fromHranaValue)),
    changes: result.affected_row_count,
    lastInsertRowid: result.last_insert_rowid === null ? null : BigInt(result.last_insert_rowid),
  };
}

function fromHranaValue(value: HranaValue): SqlValue {
  switch (value.type) {
    case 'null':
      return null;
    case 'integer':
      return BigInt(value.value);
    case 'float':
    case 'text':
      return value.value;
    case 'blob':
      return Buffer.from(value.base64, 'base64');
    default:
      return value satisfies never;
  }
}
