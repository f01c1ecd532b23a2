import { z } from 'zod';
import { parseJson, validate } from '../../bodies/parse-body.ts';
import { type PreparedRequest, prepareRequest } from './prepare-body.ts';
import { WireBatch, type WireHranaValue, WireStatement } from './wire.ts';

/*
 * Bodies of what sqld spoke before Hrana 2 over HTTP: a request each, without a stream.
 *
 *   v1/execute   {stmt}
 *   v1/batch     {batch}
 *   POST /       {statements: ["SELECT 1", {q: "SELECT ?", params: [1]}]}, each runs if the one before it was ok
 *
 * Source: libsql-server/src/http/user/hrana_over_http_1.rs and types.rs in tursodatabase/libsql.
 */

/** What such a body asks for: one request of a pipeline. */
export interface SqldBodies {
  sqldExecute: PreparedRequest;
  sqldBatch: PreparedRequest;
  sqldStatements: PreparedRequest;
}

const Params = z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]).nullish();
const ExecuteBody = z.object({ stmt: WireStatement });
const BatchBody = z.object({ batch: WireBatch });
const StatementsBody = z.object({
  statements: z.array(z.union([z.string(), z.strictObject({ q: z.string(), params: Params })])),
});

/** How each is read. @throws OnewriterError INVALID_ARGUMENT */
export const READ_SQLD: { readonly [Name in keyof SqldBodies]: (bytes: Uint8Array) => SqldBodies[Name] } = {
  sqldExecute: bytes => {
    const { stmt } = validate(ExecuteBody, parseJson(bytes, JSON.parse));
    return prepareRequest({ type: 'execute', stmt });
  },
  sqldBatch: bytes => {
    const { batch } = validate(BatchBody, parseJson(bytes, JSON.parse));
    return prepareRequest({ type: 'batch', batch });
  },
  sqldStatements: bytes => {
    const { statements } = validate(StatementsBody, parseJson(bytes));
    const steps = statements.map((statement, step) => ({
      condition: step === 0 ? undefined : { type: 'ok', step: step - 1 },
      stmt: typeof statement === 'string' ? { sql: statement } : toStatement(statement),
    }));
    return prepareRequest({ type: 'batch', batch: { steps } });
  },
};

function toStatement({
  q,
  params,
}: {
  readonly q: string;
  readonly params?: z.output<typeof Params>;
}): WireStatement {
  if (params === undefined || params === null) return { sql: q };
  if (Array.isArray(params)) return { sql: q, args: params.map(toWireValue) };
  return {
    sql: q,
    named_args: Object.entries(params).map(([name, value]) => ({ name, value: toWireValue(value) })),
  };
}

/** A plain JSON value. A wrong one is the error of its statement, so it is passed on as a value that is none. */
function toWireValue(value: unknown): WireHranaValue {
  switch (typeof value) {
    case 'string':
      return { type: 'text', value };
    case 'boolean':
      return { type: 'integer', value: Number(value) };
    case 'number':
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? { type: 'integer', value }
        : { type: 'float', value };
    default: {
      if (value === null) return { type: 'null' };
      const { base64, i } = value as { readonly base64?: unknown; readonly i?: unknown };
      // An integer that no double holds; see exact-json.ts.
      if (typeof i === 'string') return { type: 'integer', value: i };
      return { type: 'blob', base64: typeof base64 === 'string' ? base64 : '?' };
    }
  }
}
