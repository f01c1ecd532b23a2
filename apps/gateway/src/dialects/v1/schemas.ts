import { createRoute, z } from '@hono/zod-openapi';
import { ERROR_CODES, type ErrorCode, LIMITS, TENANT_ID_PATTERN } from '@onewriter/protocol';

/*
 * The shapes of the native API. What validates a request here is what /openapi.json shows.
 */

export { createRoute, z };

/** Checked by decodeJsonParameters, which names the parameter that is wrong. */
const parameterValue = z.unknown().openapi({
  description:
    'null, a number (bound as a real, as better-sqlite3 does it), a string or a boolean (stored as 0 or 1); ' +
    '{"b":"<base64>"} or {"type":"Buffer","data":[…]} a blob; {"i":"<decimal>"} an integer of up to 64 bits; ' +
    '{"f":"<decimal>"} a real, also {"f":"Infinity"} and {"f":"-Infinity"}. A bare JSON integer beyond 2^53 is an integer and read digit by digit, too.',
});

/** Parameters of a statement. */
export const Parameters = z
  .union([z.array(parameterValue), z.record(z.string(), parameterValue)])
  .nullish()
  .openapi('Parameters', {
    description:
      'Values by the numbers that SQLite gives the parameters, or an object of named values with or without the sign (@, : or $).',
  });

const sql = z
  .string()
  .openapi({ description: 'One statement.', example: 'SELECT * FROM tasks WHERE id = ?' });

/** How values are written. */
export const Values = z
  .enum(['plain', 'tagged'])
  .default('plain')
  .openapi({
    description:
      'plain: integers beyond 2^53 are decimal strings, blobs base64 strings, infinities the strings Infinity and ' +
      '-Infinity. tagged: every value shows its storage class, and keeps it when it is sent back as a parameter: an ' +
      'integer of any size is {"i":"5"}, lastInsertRowid too, a blob {"b":"…"}; a real is a number, or {"f":"…"} where ' +
      'its digits would be taken for an integer (whole and beyond 2^53), and for -0 and infinities.',
  });

const timeoutMs = z
  .int()
  .min(1)
  .max(LIMITS.maxTimeoutMs)
  .optional()
  .openapi({ description: "The caller's deadline; the gateway's own is the longest." });

/** A value in an answer. */
const Value = z
  .union([
    z.null(),
    z.number(),
    z.string(),
    z.object({ i: z.string() }),
    z.object({ b: z.string() }),
    z.object({ f: z.string() }),
  ])
  .openapi('Value', { description: 'With plain values null, a number or a string. Tagged: see values.' });

const Row = z.union([z.array(Value), z.record(z.string(), Value)]).openapi('Row', {
  description:
    'An array has the values in the order of columns. An object has a property per column: where names are equal, ' +
    'the last is id, for example, and those before it are id:1, id:2.',
});

const durable = z.literal('replica').optional().openapi({
  description:
    'The answer waits until the replica has the commit, too. 503 REPLICA_UNAVAILABLE: nothing was applied.',
});

const replicatedAt = z.int().optional().openapi({
  description: 'When the replica had it, ms since the epoch; where that was waited for.',
});

const commitSeq = z
  .int()
  .openapi({ description: "The tenant's commit that holds the write; rises by one per commit." });

export const QueryRequest = z
  .object({
    sql,
    params: Parameters,
    method: z
      .enum(['all', 'get', 'run', 'values'])
      .nullish()
      .openapi({
        description:
          'all: rows as objects (default; with tagged values, arrays). get: the first row or null in "row". values: rows ' +
          'as arrays. run: no rows.',
      }),
    values: Values,
    timeoutMs,
    durable,
  })
  .openapi('QueryRequest');

/** What one statement did. */
const statementResult = {
  columns: z.array(z.string()).optional().openapi({
    description: 'The names of all columns, in order; equal names stand there as often as they come.',
  }),
  rows: z.array(Row).optional(),
  row: z.union([Row, z.null()]).optional(),
  changes: z.int().optional(),
  lastInsertRowid: Value.optional(),
};

export const QueryResponse = z
  .object({ ...statementResult, commitSeq: commitSeq.optional(), replicatedAt })
  .openapi('QueryResponse', { description: 'Reads have no changes, lastInsertRowid and commitSeq.' });

export const TransactionRequest = z
  .object({
    statements: z
      .array(
        z.object({
          sql,
          params: Parameters,
          expect: z
            .object({ changes: z.int().min(0).optional(), rows: z.int().min(0).optional() })
            .nullish()
            .openapi({ description: 'What must be true of its result; else nothing is applied.' }),
        }),
      )
      .min(1)
      // More are STATEMENT_TOO_LARGE.
      .openapi({ maxItems: LIMITS.maxTransactionStatements }),
    values: Values,
    timeoutMs,
    durable,
  })
  .openapi('TransactionRequest');

export const TransactionResponse = z
  .object({ results: z.array(z.object(statementResult).openapi('StatementResult')), commitSeq, replicatedAt })
  .openapi('TransactionResponse');

export const ScriptRequest = z
  .object({
    sql: z.string().openapi({ description: 'Any number of statements, applied as a whole or not at all.' }),
    timeoutMs,
    durable,
  })
  .openapi('ScriptRequest');

export const ScriptResponse = z.object({ commitSeq, replicatedAt }).openapi('ScriptResponse');

export const EnqueueRequest = z
  .object({ sql, params: Parameters, timeoutMs, durable })
  .openapi('EnqueueRequest');

/** One line of a stream of writes. */
export const EnqueueLine = z
  .object({ sql, params: Parameters, idempotencyKey: z.string().min(1).max(255).optional(), durable })
  .openapi('EnqueueLine');

const receiptIdText = z.string().openapi({ example: 'w-019378a1-7c3e-7000-8000-000000000000.0' });

export const EnqueueResponse = z
  .object({
    receiptId: receiptIdText,
    href: z.string().openapi({ description: 'Where to ask for its outcome.' }),
  })
  .openapi('EnqueueResponse');

/** An error inside an answer. */
export const WireError = z
  .object({
    code: z.string(),
    message: z.string(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi('Error');

export const EnqueueAnswerLine = z
  .object({ index: z.int(), receiptId: receiptIdText.optional(), error: WireError.optional() })
  .openapi('EnqueueAnswerLine');

const writeResult = z.object({
  ...statementResult,
  commitSeq: commitSeq.optional(),
  replicatedAt,
});

export const ReceiptResponse = z
  .object({
    state: z.enum(['committed', 'failed', 'pending', 'unknown']).openapi({
      description: 'unknown: neither queue nor ledger know it: never accepted, or older than the ledger.',
    }),
    commitSeq: commitSeq.optional(),
    result: writeResult
      .extend({
        statements: z.array(writeResult).optional(),
        replicated: z.literal(false).optional().openapi({
          description:
            'The replica was waited for in vain: the write is committed, and not known to be there.',
        }),
      })
      .optional(),
    error: WireError.optional(),
    holders: z
      .array(
        z.object({
          name: z.string(),
          reason: z.string(),
          who: z.string(),
          since: z.string().nullable(),
          expiresAt: z.string().nullable(),
        }),
      )
      .optional()
      .openapi({ description: 'With pending: who keeps the tenant still, which is why the write waits.' }),
    reason: z.string().optional().openapi({
      description: 'With unknown: the write was set aside, because it may have been applied before.',
    }),
  })
  .openapi('Receipt');

const ErrorResponse = z
  .object({
    error: z.object({
      code: z
        .enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]])
        .openapi('ErrorCode', { description: 'From one table; other codes may be added.' }),
      message: z.string(),
      details: z
        .record(z.string(), z.unknown())
        .optional()
        .openapi({ description: 'Among them sqliteCode, statementIndex, retryAfterMs, receiptId.' }),
      requestId: z.string(),
    }),
  })
  .openapi('ErrorResponse');

/** `{tenant}` of a path. */
export const TenantParam = z.object({
  tenant: z
    .string()
    .regex(TENANT_ID_PATTERN)
    .openapi({ param: { name: 'tenant', in: 'path' }, example: 'acme' }),
});

const idempotencyKey = z
  .string()
  .optional()
  .openapi({
    description:
      'Among writes of a tenant with the same key only the first is applied; the others get its result. The same key ' +
      'with another write is 422 IDEMPOTENCY_KEY_REUSED. In double quotes or without.',
    example: '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
  });

/** Headers of a write. */
export const WriteHeaders = z.object({ 'idempotency-key': idempotencyKey });

/** Headers of a statement of any kind. */
export const QueryHeaders = z.object({
  'idempotency-key': idempotencyKey,
  'if-commit-seq-at-least': z.string().optional().openapi({
    description:
      'A read waits until the tenant has committed this; 412 COMMIT_SEQ_NOT_REACHED at its deadline.',
  }),
});

/** An answer in JSON. */
export function json<Schema extends z.ZodType>(description: string, schema: Schema) {
  return { description, content: { 'application/json': { schema } } };
}

/** A body in JSON. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } };
}

/** What every route may answer besides what it is for. */
export const FAILURE = { default: json('An error, with the status of its code.', ErrorResponse) };

/** Every route under /v1 wants a token. */
export const SECURED = [{ bearer: [] }];
