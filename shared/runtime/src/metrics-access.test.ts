import { OnewriterError } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { createMetricsAccess } from './metrics-access.ts';
import type { TokenVerifier } from './tokens/token-verifier.ts';

const verify: TokenVerifier = async token => {
  if (!token.startsWith('t-')) throw new OnewriterError('UNAUTHENTICATED', 'no');
  const tenants = token === 't-all' ? '*' : ['acme'];
  return {
    tenants,
    rights: ['read'],
    id: token,
    subject: undefined,
    jti: undefined,
    issuedAtMs: undefined,
    expiresAtMs: Number.POSITIVE_INFINITY,
  };
};

it('opens to the token for metrics, and to those for all tenants', async () => {
  const assertAccess = createMetricsAccess('metrics-metrics-metrics', verify);
  await assertAccess('Bearer metrics-metrics-metrics');
  await assertAccess('bearer t-all');
  await expect(assertAccess(undefined)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  await expect(assertAccess('Bearer metrics-metrics-metric')).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
  });
  await expect(assertAccess('Bearer t-acme')).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect(createMetricsAccess(undefined, verify)('Bearer undefined')).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
  });
});
