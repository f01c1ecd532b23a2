import { expect, it } from 'vitest';
import type { RunFile } from '../run-file.ts';
import { describeReady } from './ready-message.ts';

const RUN: RunFile = {
  ...{ pid: 1, startedAt: '2026-11-30T12:00:00Z', dataDir: '/data', group: 'default', dbFile: 'tenant.db' },
  ...{ gatewayUrl: 'http://127.0.0.1:8080', dashboardUrl: 'http://127.0.0.1:8081' },
  ...{ brokerUrl: 'http://127.0.0.1:8082', brokerUrls: ['http://127.0.0.1:8082'] },
  redisUrl: 'redis://default:secret@127.0.0.1:6379',
  pids: { broker: 2, gateway: 3, dashboard: 4, redis: 5 },
};
const describeRun = (run: RunFile) =>
  describeReady({ run, token: 'a-token', leaderUrl: RUN.brokerUrl }, false);

it('says where commits are replicated to, or how they would be', () => {
  expect(describeRun({ ...RUN, replicaUrl: 's3://bucket/a' })).toMatch(/^ {2}replica {4}s3:\/\/bucket\/a$/m);
  expect(describeRun(RUN)).toMatch(/^ {2}replica {4}none \(set ONEWRITER_REPLICA_URL\)$/m);
});

it('shows neither the password of Redis nor, in a log, the token', () => {
  expect(describeRun(RUN)).not.toMatch(/secret|a-token/);
});
