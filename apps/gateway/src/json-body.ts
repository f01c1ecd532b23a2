import { OnewriterError } from '@onewriter/protocol';
import type { Context, MiddlewareHandler } from 'hono';
import type { z } from 'zod';
import type { BodyBudget } from './body-budget.ts';
import { parseExactJson } from './exact-json.ts';
import type { GatewayEnv } from './gateway-env.ts';

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i;

/**
 * Refuses bodies that are not JSON or too large before any of it is read, and holds the others within `budget` until
 * the answer is made.
 * @throws OnewriterError UNSUPPORTED_MEDIA_TYPE, PAYLOAD_TOO_LARGE, RATE_LIMITED
 */
export function acceptJsonBody(maxBytes: number, budget: BodyBudget): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    // Without the header it may be JSON; parsing will tell.
    const type = c.req.header('content-type');
    if (type !== undefined && !JSON_TYPE.test(type)) {
      throw new OnewriterError(
        'UNSUPPORTED_MEDIA_TYPE',
        'The body must be JSON: send the header "Content-Type: application/json".',
      );
    }
    // A body without a length is read up to the limit.
    const bytes = declaredBytes(c) ?? maxBytes;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    const release = budget.reserve(bytes);
    try {
      await next();
    } finally {
      release();
    }
  };
}

/**
 * Reads the body and validates it.
 * @throws OnewriterError INVALID_ARGUMENT naming the field, PAYLOAD_TOO_LARGE
 */
export async function readJsonBody<Schema extends z.ZodType>(
  c: Context<GatewayEnv>,
  schema: Schema,
  maxBytes: number,
): Promise<z.output<Schema>> {
  const bytes =
    declaredBytes(c) === undefined
      ? await readAtMost(c.req.raw.body, maxBytes)
      : new Uint8Array(await c.req.arrayBuffer());
  return validate(schema, parse(bytes));
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

function declaredBytes(c: Context<GatewayEnv>): number | undefined {
  const length = c.req.header('content-length');
  return length === undefined || c.req.header('transfer-encoding') !== undefined ? undefined : Number(length);
}

function parse(bytes: Uint8Array): unknown {
  try {
    // Wrong UTF-8 would be stored as U+FFFD without a word.
    return parseExactJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The request body is not JSON in UTF-8.', {}, cause);
  }
}

async function readAtMost(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function tooLarge(maxBytes: number): OnewriterError {
  return new OnewriterError('PAYLOAD_TOO_LARGE', `The request body is over ${maxBytes} bytes.`, { maxBytes });
}
