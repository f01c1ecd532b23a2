import { createHash, timingSafeEqual } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import type { Access } from './tokens/token.ts';

const BEARER = /^Bearer +(\S+) *$/i;

/**
 * Who may read `/metrics` of a server that others reach, too: who has the token of the setting `metricsToken`, which
 * opens nothing else, or any token for all tenants. (The figures name tenants.)
 *
 * @returns a check of the header `Authorization`; it throws OnewriterError UNAUTHENTICATED, FORBIDDEN.
 */
export function createMetricsAccess(
  metricsToken: string | undefined,
  verify: (token: string) => Promise<Pick<Access, 'tenants'>>,
): (authorization: string | undefined) => Promise<void> {
  const expected = metricsToken === undefined ? undefined : digest(metricsToken);
  return async authorization => {
    const token = BEARER.exec(authorization ?? '')?.[1];
    if (token === undefined) {
      throw new OnewriterError(
        'UNAUTHENTICATED',
        'Metrics need a bearer token: that of ONEWRITER_METRICS_TOKEN, or one for all tenants.',
      );
    }
    if (expected !== undefined && timingSafeEqual(digest(token), expected)) return;
    const { tenants } = await verify(token);
    if (tenants !== '*')
      throw new OnewriterError('FORBIDDEN', 'Metrics are of all tenants; this token is not for all of them.');
  };
}

/** A hash: the same length for every input, as timingSafeEqual needs. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
