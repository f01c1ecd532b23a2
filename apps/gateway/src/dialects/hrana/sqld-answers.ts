import type { SqlValue } from '@onewriter/protocol';
import { toHranaError } from './hrana-error.ts';
import type { StepResult } from './steps.ts';
import { encodeHranaValue } from './values.ts';

/**
 * The answer to `POST /`, as JSON: `[{"results": {columns, rows, …}}, {"error": "…"}, null]`; null where a statement did not run.
 * Source: libsql-server/src/http/user/result_builder.rs in tursodatabase/libsql.
 */
export function toStatementsJson(results: readonly StepResult[]): string {
  return `[${results.map(toResultJson).join()}]`;
}

function toResultJson(result: StepResult): string {
  if (result.type === 'skipped') return 'null';
  if (result.type === 'error') return JSON.stringify({ error: toHranaError(result.error).message });
  const { columns, rows, changes, durationMs } = result;
  const names = JSON.stringify(columns.map(({ name }) => name));
  const counts = `"rows_read":${rows.length},"rows_written":${changes},"query_duration_ms":${durationMs}`;
  const values = rows.map(row => `[${row.map(toValueJson).join()}]`).join();
  return `{"results":{"columns":${names},"rows":[${values}],${counts}}}`;
}

/** Integers and reals are both numbers: a real has a point or an exponent. Infinities are as in the rest of the protocol. */
function toValueJson(value: SqlValue): string {
  const encoded = encodeHranaValue(value);
  switch (encoded.type) {
    case 'null':
      return 'null';
    case 'integer':
      return encoded.value;
    case 'float':
      return toRealJson(value as number);
    case 'text':
      return JSON.stringify(encoded.value);
    case 'blob':
      return JSON.stringify({ base64: encoded.base64 });
    default:
      return encoded satisfies never;
  }
}

function toRealJson(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? '1e999' : '-1e999';
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}
