import type { WireError } from '@onewriter/protocol';
import { remedyFor } from './remedy.ts';

/** Prints an error, and what to do about it, in one line on standard error. */
export function printError({ code, message }: Pick<WireError, 'code' | 'message'>): void {
  const remedy = remedyFor(code);
  const text = remedy === undefined ? message : `${message} Next: ${remedy}`;
  process.stderr.write(`onewriter: ${code} ${text.replace(/\s*\n\s*/g, ' ')}\n`);
}

/** The same for programs: one line of JSON on standard error, `{"error":{"code","message","details"?,"next"?}}`. */
export function printErrorAsJson(error: WireError): void {
  const next = remedyFor(error.code);
  process.stderr.write(`${JSON.stringify({ error: next === undefined ? error : { ...error, next } })}\n`);
}
