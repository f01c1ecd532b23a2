import { configSchema } from '@onewriter/runtime';
import { expect, it } from 'vitest';
import { describeSettings } from './config.ts';

const settingsWith = (environment: Record<string, string>) =>
  new Map(describeSettings(environment).map(row => [row.setting, row]));

it('lists every setting with a description', () => {
  const rows = describeSettings({});
  expect(rows.map(row => row.setting)).toEqual(Object.keys(configSchema.shape));
  expect(rows.filter(row => row.description === '')).toEqual([]);
});

it('shows the value beside the default', () => {
  expect(settingsWith({ ONEWRITER_THREADS: '7' }).get('threads')).toMatchObject({
    variable: 'ONEWRITER_THREADS',
    default: 2,
    value: 7,
  });
});

it('shows no secret', () => {
  const rows = settingsWith({
    ONEWRITER_TOKEN_SECRET: 'swordfish-swordfish',
    ONEWRITER_REPLICA_KEY: Buffer.alloc(32, 7).toString('base64'),
    // Refused by the broker, and shown all the same.
    ONEWRITER_REPLICA_URL: 's3://a,s3://id:swordfish@bucket/prefix',
    ONEWRITER_REDIS_URL: 'rediss://user:hunter2@redis.example:6380/1',
  });
  expect(rows.get('tokenSecret')?.value).toBe('(set)');
  expect(rows.get('replicaKey')?.value).toBe('(set)');
  expect(rows.get('replicaUrl')?.value).toBe('s3://a,s3://id:***@bucket/prefix');
  expect(rows.get('redisUrl')?.value).toBe('rediss://user:***@redis.example:6380/1');
});
