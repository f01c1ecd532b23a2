import { createHash } from 'node:crypto';
import { MAX_SUBJECT_LENGTH } from './token.ts';
import type { VerifiedToken } from './token-verifier.ts';

/*
 * A revocation ends tokens before their `exp`:
 *
 *   jti       the token with this id
 *   token     one token, by the id that it has in logs and in the audit log; for tokens without `jti`
 *   subject   every token of this `sub` that was issued until then; later ones are valid
 */

/** What a revocation is about. */
export const REVOCATION_KINDS = ['jti', 'token', 'subject'] as const;

/** See {@link REVOCATION_KINDS}. */
export type RevocationKind = (typeof REVOCATION_KINDS)[number];

/** Tokens that are not valid any more. */
export interface Revocation {
  readonly kind: RevocationKind;
  readonly value: string;
  /** Ms since the epoch. */
  readonly atMs: number;
  /** From then on the token has ended anyway, ms since the epoch; null: not known. */
  readonly untilMs: number | null;
}

/** When each thing was revoked, in ms since the epoch, by {@link revocationKey}. */
export type RevokedAt = ReadonlyMap<string, number>;

/** A name for what is revoked, the same in a file name and in Redis. */
export function revocationKey(kind: RevocationKind, value: string): string {
  // A verified token's subject is cut to the same length.
  const counted = kind === 'subject' ? value.slice(0, MAX_SUBJECT_LENGTH) : value;
  return `${kind}-${createHash('sha256').update(counted).digest('hex').slice(0, 32)}`;
}

/** Whether a token is among what was revoked. */
export function isRevoked(revoked: RevokedAt, token: VerifiedToken): boolean {
  if (revoked.size === 0) return false;
  if (revoked.has(revocationKey('token', token.id))) return true;
  if (token.jti !== undefined && revoked.has(revocationKey('jti', token.jti))) return true;
  if (token.subject === undefined) return false;
  const at = revoked.get(revocationKey('subject', token.subject));
  return at !== undefined && (token.issuedAtMs === undefined || token.issuedAtMs <= at);
}

/** Says whether a token was revoked. @throws OnewriterError KEYS_UNAVAILABLE where that cannot be known */
export interface Revocations {
  isRevoked(token: VerifiedToken): boolean | Promise<boolean>;
}
