import { expect, it } from 'vitest';
import { environmentOf } from './service-environment.ts';

it('gives the dashboard nothing that opens the replica', () => {
  const secrets = {
    ONEWRITER_REPLICA_KEY: 'k',
    ONEWRITER_REPLICA_KEY_FILE: '/k',
    AWS_SECRET_ACCESS_KEY: 's',
  };
  const environment = { ...secrets, ONEWRITER_REPLICA_URL: 's3://bucket', PATH: '/bin' };
  expect(environmentOf('dashboard', environment)).toEqual({
    ONEWRITER_REPLICA_URL: 's3://bucket',
    PATH: '/bin',
  });
  for (const service of ['broker', 'gateway'] as const)
    expect(environmentOf(service, environment)).toEqual(environment);
});
