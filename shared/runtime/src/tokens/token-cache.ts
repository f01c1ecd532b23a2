import { LRUCache } from 'lru-cache';
import { CLOCK_TOLERANCE_SECONDS } from './token.ts';
import type { TokenVerifier, VerifiedToken } from './token-verifier.ts';

/** Settings of {@link cacheVerifiedTokens}. */
export interface TokenCacheOptions {
  /** Default: 1,000. */
  readonly maxTokens?: number | undefined;
  /** How long a key that was withdrawn may still count, in ms. Default: 10,000. */
  readonly maxAgeMs?: number | undefined;
}

interface Known {
  readonly verified: VerifiedToken;
  /** Ms since the epoch. */
  readonly until: number;
}

/**
 * Remembers tokens that were valid: a client sends the same one with every request, and checking its signature costs a
 * fifth of a small request. What was refused is checked again. A token is never accepted after its `exp`.
 */
export function cacheVerifiedTokens(verify: TokenVerifier, options: TokenCacheOptions = {}): TokenVerifier {
  const { maxTokens = 1_000, maxAgeMs = 10_000 } = options;
  const known = new LRUCache<string, Known>({ max: maxTokens });
  return async token => {
    const now = Date.now();
    const found = known.get(token);
    // A clock that was set back would make it live longer.
    if (found !== undefined && now < found.until && found.until - now <= maxAgeMs) return found.verified;
    known.delete(token);
    const verified = await verify(token);
    known.set(token, {
      verified,
      until: Math.min(now + maxAgeMs, verified.expiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000),
    });
    return verified;
  };
}
