import { assertSqliteOpens, toWireError } from '@onewriter/protocol';
import { openRedis } from '@onewriter/runtime';
import Database from 'better-sqlite3';
import { removeDatabase } from '../copy/copy-database.ts';
import {
  JOB_REDIS_URL,
  type JobAnswer,
  type JobProgress,
  type JobRequest,
  type JobSettings,
} from './job-messages.ts';
import { cleanUpAfter, runJob } from './run-job.ts';

/*
 * A process that copies, checks, adopts or releases one tenant after the other, as its parent names them. SQLite's work blocks it, and what
 * ends it (out of memory, a page of a broken disk) ends one job: its parent starts another process for the rest.
 */

const settings = JSON.parse(process.argv[2]!) as JobSettings;
assertSqliteOpens(() => new Database(':memory:'));
const redisUrl = process.env[JOB_REDIS_URL];
const redis = redisUrl === undefined ? undefined : await openRedis(redisUrl);

const draft = 'draft' in settings.job ? settings.job.draft : undefined;

// Ctrl-C reaches it too; its parent decides whether a restore that has begun is stopped.
if (draft !== undefined) for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});

process.on('disconnect', () => {
  // Its parent died, so no process will use the draft.
  if (draft !== undefined) removeDatabase(draft);
  else if (tenantNow !== undefined) cleanUpAfter(settings.job, tenantNow, process.pid);
  process.exit(0);
});
// It died while this process connected: no one waits for its jobs, and the connection would keep this process for ever.
if (!process.connected) process.exit(0);
/** The one that it is at. */
let tenantNow: string | undefined;
let last = Promise.resolve();
process.on('message', (request: JobRequest) => {
  last = last.then(() => run(request));
});

async function run(request: JobRequest): Promise<void> {
  const { tenant } = request;
  tenantNow = tenant;
  const onProgress = (progress: number) => {
    process.send?.({ tenant, progress } satisfies JobProgress);
  };
  let answer: JobAnswer;
  try {
    answer = { tenant, result: await runJob(settings, request, redis, onProgress) };
  } catch (error) {
    answer = { tenant, error: toWireError(error) };
  }
  tenantNow = undefined;
  process.send?.(answer);
}
