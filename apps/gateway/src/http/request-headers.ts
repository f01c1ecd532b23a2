import { LIMITS, OnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';

/** A string of Structured Fields. Source: RFC 8941, section 3.3.3. */
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
/** What most clients send instead. */
const BARE = /^[!#-[\]-~]+$/;

/**
 * The header Idempotency-Key: `"8e03978e-40d5"`, or the same without quotes. Source:
 * draft-ietf-httpapi-idempotency-key-header, section 2.1.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function readIdempotencyKey(
  c: Context<GatewayEnv>,
  maxLength: number = LIMITS.maxIdempotencyKeyLength,
): string | undefined {
  const header = c.req.header('idempotency-key');
  if (header === undefined) return undefined;
  const quoted = QUOTED.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1');
  const key = quoted ?? (BARE.test(header) ? header : '');
  if (key.length >= 1 && key.length <= maxLength) return key;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `Idempotency-Key is a string of 1 to ${maxLength} printable ASCII characters, in double quotes or without.`,
  );
}

/** The header If-Commit-Seq-At-Least. @throws OnewriterError INVALID_ARGUMENT */
export function readMinCommitSeq(c: Context<GatewayEnv>): number | undefined {
  const header = c.req.header('if-commit-seq-at-least');
  if (header === undefined) return undefined;
  const value = /^\d{1,15}$/.test(header) ? Number(header) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new OnewriterError('INVALID_ARGUMENT', 'If-Commit-Seq-At-Least is a whole number.');
}
