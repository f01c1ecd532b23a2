import {
  classifyStatement,
  fromWireError,
  OnewriterError,
  type SqlParameters,
  type StatementClass,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import type { SealedWrite, TransactionStatement } from '@onewriter/sdk';
import { type OperationFlags, sealScript, sealStatement, sealTransaction } from '@onewriter/sdk/sealed';
import {
  EnqueueLine,
  EnqueueRequest,
  QueryRequest,
  ScriptRequest,
  TransactionRequest,
  type z,
} from '../dialects/v1/schemas.ts';
import { assertParameterCounts, decodeJsonParameters } from '../http/parameter-values.ts';
import { atStatement } from '../http/statement-index.ts';
import { DropInQuery, DropInTransaction } from './drop-in-bodies.ts';
import { decodeDropInParameters } from './drop-in-parameters.ts';
import { parseJson, parseLine, validate } from './parse-body.ts';

/** A statement of a body, with its parameters as they came. */
interface RawStatement {
  readonly sql: string;
  readonly params?: unknown;
  readonly expect?: TransactionStatement['expect'] | null;
}

/** How a body with statements is read. */
interface BodyForm<Schema extends z.ZodType, Fields> {
  readonly kind: SealedWrite['kind'];
  readonly schema: Schema;
  split(body: z.output<Schema>): { readonly fields: Fields; readonly statements: readonly RawStatement[] };
  readonly decode: DecodeParameters;
}

type DecodeParameters = (sql: string, params: unknown) => SqlParameters;

function form<Schema extends z.ZodType, Fields>(
  kind: SealedWrite['kind'],
  schema: Schema,
  split: BodyForm<Schema, Fields>['split'],
  decode: DecodeParameters = (_sql, params) => decodeJsonParameters(params),
): BodyForm<Schema, Fields> {
  return { kind, schema, split, decode };
}

const FORMS = {
  query: form('statement', QueryRequest, ({ sql, params, ...fields }) => ({
    fields,
    statements: [{ sql, params }],
  })),
  enqueue: form('statement', EnqueueRequest, ({ sql, params, ...fields }) => ({
    fields,
    statements: [{ sql, params }],
  })),
  /** Says its idempotency key itself. */
  enqueueLine: form('statement', EnqueueLine, ({ sql, params, ...fields }) => ({
    fields,
    statements: [{ sql, params }],
  })),
  transaction: form('transaction', TransactionRequest, ({ statements, ...fields }) => ({
    fields,
    statements,
  })),
  script: form('script', ScriptRequest, ({ sql, ...fields }) => ({ fields, statements: [{ sql }] })),
  dropInQuery: form(
    'statement',
    DropInQuery,
    ({ query, params, ...fields }) => ({ fields, statements: [{ sql: query, params }] }),
    decodeDropInParameters,
  ),
  dropInTransaction: form(
    'transaction',
    DropInTransaction,
    ({ queries, ...fields }) => ({
      fields,
      statements: queries.map(({ query, params }) => ({ sql: query, params })),
    }),
    decodeDropInParameters,
  ),
};

/** The bodies that have statements. */
export type BodyName = keyof typeof FORMS;

type FieldsOf<Name extends BodyName> = ReturnType<(typeof FORMS)[Name]['split']>['fields'];

/** A body with statements that was read and is valid. */
export interface StatementBody<Name extends BodyName = BodyName> {
  /** What it says besides. */
  readonly fields: FieldsOf<Name>;
  /** What its statement is, where it is made of one. */
  readonly statement: StatementClass | undefined;
  /** None where they are sealed. */
  readonly statements: readonly TransactionStatement[];
  /** The write that they are, ready to be sent; see {@link sealedOf}. */
  readonly sealed?: SealedWrite | undefined;
  /** Why they are none. It is thrown where the write is sent: until then a request may be refused for another reason. */
  readonly refusal?: WireError | undefined;
}

/**
 * The write of a body that was sealed; undefined where the client encodes it. Called where the client would be, so that answers do not
 * depend on the size of a body.
 * @throws OnewriterError as Tenant.execute(), transaction() and exec()
 */
export function sealedOf({ sealed, refusal }: StatementBody): SealedWrite | undefined {
  if (refusal !== undefined) throw fromWireError(refusal);
  return sealed;
}

/**
 * Reads a body: parses it, validates it, decodes its parameters. For 8 MB it takes a tenth of a second, and seconds where it has very
 * many names.
 * @throws OnewriterError INVALID_ARGUMENT naming the field; INVALID_VALUE; STATEMENT_TOO_LARGE; as {@link classifyStatement}
 */
export function readStatementBody<Name extends BodyName>(
  name: Name,
  source: Uint8Array | string,
): StatementBody<Name> {
  const { kind, schema, split, decode } = FORMS[name] as unknown as BodyForm<z.ZodType, FieldsOf<Name>>;
  const parsed = name === 'enqueueLine' ? parseLine(source) : parseJson(source);
  assertParameterCounts(parsed);
  const { fields, statements } = split(validate(schema, parsed));
  const statement = kind === 'statement' ? classifyStatement(statements[0]!.sql) : undefined;
  return {
    fields,
    statement,
    statements: statements.map(({ sql, params, expect }, index) => ({
      sql,
      params: kind === 'transaction' ? atStatement(index, () => decode(sql, params)) : decode(sql, params),
      ...(expect === null || expect === undefined ? {} : { expect }),
    })),
  };
}

/**
 * Seals what a body writes, so that the thread that sends it has little to do. A read stays as it is; so does what
 * is refused, with the reason.
 * @param tenant for errors
 */
export function sealStatementBody<Name extends BodyName>(
  name: Name,
  body: StatementBody<Name>,
  flags: OperationFlags,
  tenant?: string | undefined,
): StatementBody<Name> {
  const { fields, statement, statements } = body;
  if (statement?.kind === 'read') return body;
  const withKey = 'idempotencyKey' in fields ? { ...flags, idempotencyKey: fields.idempotencyKey } : flags;
  const ownFlags = 'durable' in fields ? { ...withKey, durable: fields.durable } : withKey;
  const ownTenant = 'tenantId' in fields ? fields.tenantId : tenant;
  try {
    const sealed = seal(FORMS[name].kind, statements, ownFlags, ownTenant);
    return { ...body, statements: [], sealed };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    return { ...body, statements: [], refusal: toWireError(error) };
  }
}

function seal(
  kind: SealedWrite['kind'],
  statements: readonly TransactionStatement[],
  flags: OperationFlags,
  tenant: string | undefined,
): SealedWrite {
  const [first] = statements;
  switch (kind) {
    case 'statement':
      return sealStatement(first!.sql, first!.params ?? [], flags);
    case 'transaction':
      return sealTransaction(statements, flags, tenant);
    case 'script':
      return sealScript(first!.sql, flags, tenant);
    default:
      return kind satisfies never;
  }
}
