import { OnewriterError } from '@onewriter/protocol';
import type { z } from 'zod';
import { parseExactJson } from './exact-json.ts';

/** Wrong UTF-8 would silently be stored as U+FFFD. */
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Parses a body.
 * @param parseText default: large integers are kept exactly, see `exact-json.ts`
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function parseJson(
  source: Uint8Array | string,
  parseText: (text: string) => unknown = parseExactJson,
): unknown {
  try {
    return parseText(decode(source));
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The request body is not JSON in UTF-8.', {}, cause);
  }
}

/** Parses a line of a body. @throws OnewriterError INVALID_ARGUMENT */
export function parseLine(source: Uint8Array | string): unknown {
  try {
    return parseExactJson(decode(source));
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The line is not JSON.', {}, cause);
  }
}

function decode(source: Uint8Array | string): string {
  return typeof source === 'string' ? source : STRICT_UTF8.decode(source);
}

/** Validates what came as JSON. @throws OnewriterError INVALID_ARGUMENT naming the field */
export function validate<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.path.join('.');
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `The request body is wrong${field === '' ? '' : ` at ${field.slice(0, 200)}`}: ${issue.message}.`,
  );
}
