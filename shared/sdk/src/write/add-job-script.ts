import { createHash } from 'node:crypto';
import { isFollowUpJobId, type QueueAddress } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { ADD_FOLLOW_UP, ADD_JOB, WITHDRAW_JOB } from './lua-scripts.ts';
import type { OutboundJob } from './outbound-job.ts';

const ADD_BACK = defineScript(ADD_JOB);
const ADD_FRONT = defineScript(ADD_FOLLOW_UP);

/** `attempts: 1`: a retry would push the job behind later ones; the writer retries what can be retried, in its place. */
const OPTIONS = JSON.stringify({ attempts: 1, stackTraceLimit: 0 });

/**
 * How a script is sent: by its hash, which a Redis that has forgotten it refuses (NOSCRIPT), or in full. Not with ioredis'
 * own scripts: they send a refused one again, behind commands that belong behind it.
 */
export type ScriptForm = 'hash' | 'full';

interface Script {
  readonly lua: string;
  readonly sha: string;
}

function defineScript(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Whether a script was refused because Redis does not know its hash: it was not executed. */
export function isNoScript(error: Error | null | undefined): boolean {
  return error?.name === 'ReplyError' && error.message.startsWith('NOSCRIPT');
}

/** What the script answers. */
export interface Added {
  /** How many jobs wait; negative: the bytes that wait, too many to add it. */
  readonly depth: number;
  /** By Redis' clock, where it was asked for. */
  readonly redisMs?: number | undefined;
  /** The tenant's callers wait for the replica, or no broker has said that they do not. */
  readonly isSync?: true | undefined;
}

/** Reads what the script answers. */
export function readAdded(reply: unknown): Added {
  if (!Array.isArray(reply)) return { depth: typeof reply === 'number' ? reply : 0 };
  const [depth, redisMs, sync] = reply as [number, string, string | undefined];
  const time = redisMs === '' ? undefined : Number(redisMs);
  return { depth, redisMs: time, isSync: sync === '1' ? true : undefined };
}

/**
 * Adds a job, in one command.
 * @param time by Redis' clock, ms; '' where it is to be read
 * @param maxBytes that may wait in the queue; steps of an open transaction are added all the same
 * @returns for {@link readAdded}
 * @throws as any command of Redis; then the job is not in the queue, unless the connection broke
 */
export function addJob(
  redis: Redis,
  { prefix, name }: QueueAddress,
  job: OutboundJob,
  form: ScriptForm,
  time: number | '',
  maxBytes: number,
): Promise<unknown> {
  const keys = `${prefix}:${name}:`;
  const isFollowUp = isFollowUpJobId(job.id);
  const script = isFollowUp ? ADD_FRONT : ADD_BACK;
  const most = isFollowUp ? Number.MAX_SAFE_INTEGER : maxBytes;
  const redisKeys = [`${keys}wait`, keys + job.id, `${keys}meta`];
  const args = [job.id, job.name, job.message, OPTIONS, time, most];
  return form === 'hash'
    ? redis.call('EVALSHA', script.sha, 3, ...redisKeys, ...args)
    : redis.call('EVAL', script.lua, 3, ...redisKeys, ...args);
}

/** Withdraws a waiting job. @returns false if it has begun or does not exist. */
export async function withdrawJob(
  redis: Redis,
  { prefix, name }: QueueAddress,
  jobId: string,
): Promise<boolean> {
  const keys = `${prefix}:${name}:`;
  return (await redis.call('EVAL', WITHDRAW_JOB, 3, `${keys}wait`, keys + jobId, `${keys}meta`, jobId)) === 1;
}
