import { OnewriterError } from '@onewriter/protocol';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

/** Counts requests, and refuses those over a limit. */
export interface RateLimits {
  /** @param id of the token. @throws OnewriterError RATE_LIMITED with `retryAfterMs` */
  countToken(id: string): Promise<void>;
  /** @throws OnewriterError RATE_LIMITED with `retryAfterMs` */
  countTenant(tenant: string): Promise<void>;
}

/** Requests per second; 0 is no limit. */
export interface RateLimitOptions {
  readonly perToken: number;
  readonly perTenant: number;
}

/**
 * Limits of this process, kept in its memory: with several gateways each allows as much. A window is one second long,
 * so that bursts below the limit pass at once.
 */
export function createRateLimits({ perToken, perTenant }: RateLimitOptions): RateLimits {
  return {
    countToken: createCounter('token', perToken, 'This token'),
    countTenant: createCounter('tenant', perTenant, 'This tenant'),
  };
}

function createCounter(name: string, points: number, whose: string): (key: string) => Promise<void> {
  if (points === 0) return async () => {};
  const limiter = new RateLimiterMemory({ keyPrefix: name, points, duration: 1 });
  return async key => {
    try {
      await limiter.consume(key);
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const message = `${whose} has more than ${points} requests in a second; try again.`;
      throw new OnewriterError('RATE_LIMITED', message, { retryAfterMs: Math.max(1, refusal.msBeforeNext) });
    }
  };
}
