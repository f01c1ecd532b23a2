import { assertSqliteOpens, toWireError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { openRedis } from '../open-redis.ts';
import { findTarget } from '../target.ts';
import type { JobAnswer, JobRequest, JobSettings } from './job-messages.ts';
import { runJob } from './run-job.ts';

/*
 * A process that copies or checks one tenant after the other, as its parent names them. SQLite's work blocks it, and what
 * ends it (out of memory, a page of a broken disk) ends one job: its parent starts another process for the rest.
 */

const { dataDir, job } = JSON.parse(process.argv[2]!) as JobSettings;
const target = findTarget(dataDir);
assertSqliteOpens(() => new Database(':memory:'));
const redis = job.kind === 'check' && job.withRedis ? await openRedis(target) : undefined;

process.on('disconnect', () => process.exit(0));
let last = Promise.resolve();
process.on('message', ({ tenant }: JobRequest) => {
  last = last.then(() => run(tenant));
});

async function run(tenant: string): Promise<void> {
  let answer: JobAnswer;
  try {
    answer = { tenant, result: await runJob(target, job, tenant, redis) };
  } catch (error) {
    answer = { tenant, error: toWireError(error) };
  }
  process.send?.(answer);
}
