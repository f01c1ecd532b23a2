import { expect, it } from 'vitest';
import { parseSentinelUrl } from './redis-url.ts';

it('reads Sentinels, the name of the primary and what is optional', () => {
  expect(parseSentinelUrl('redis+sentinel://one:26380,10.0.0.2,[::1]:7/prod')).toEqual({
    sentinels: [
      { host: 'one', port: 26_380 },
      { host: '10.0.0.2', port: 26_379 },
      { host: '::1', port: 7 },
    ],
    name: 'prod',
    role: 'master',
    db: 0,
    failoverDetector: true,
  });
  expect(
    parseSentinelUrl('rediss+sentinel://app:p%40s:s@one/prod/3?sentinelUsername=look&sentinelPassword=a%2Fb'),
  ).toMatchObject({
    username: 'app',
    password: 'p@s:s',
    db: 3,
    sentinelUsername: 'look',
    sentinelPassword: 'a/b',
    tls: {},
    sentinelTLS: {},
    enableTLSForSentinelMode: true,
  });
  expect(parseSentinelUrl('redis+sentinel://:secret@one/prod')).toMatchObject({ password: 'secret' });
  expect(parseSentinelUrl('redis+sentinel://:secret@one/prod')).not.toHaveProperty('username');
});

it('leaves other URLs to others', () => {
  expect(parseSentinelUrl('redis://127.0.0.1:6379')).toBeUndefined();
  expect(parseSentinelUrl('rediss://one/2')).toBeUndefined();
});

it.each([
  'redis+sentinel://',
  'redis+sentinel://one',
  'redis+sentinel://one/',
  'redis+sentinel://one/prod/x',
  'redis+sentinel://one/prod/1/2',
  'redis+sentinel://one,,two/prod',
  'redis+sentinel://one:0/prod',
  'redis+sentinel://one:70000/prod',
  'redis+sentinel://:hunter2%@one/prod',
])('refuses %s without repeating a password', url => {
  expect(() => parseSentinelUrl(url)).toThrow(
    expect.objectContaining({ code: 'MISCONFIGURED', message: expect.not.stringContaining('hunter2') }),
  );
});
