import { createHash } from 'node:crypto';
import { isFollowUpJobId, type QueueAddress } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { OutboundJob } from './outbound-job.ts';

/** The job's hash. Times stay strings where they can: to write a number as one costs as much as a command. */
const ADD = `
local now = ARGV[5]
local isRead = now == ''
if isRead then
  local time = call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local stamp = now
local found = call('HMGET', KEYS[3], 'onewriter.added', 'onewriter.bytes')
if found[1] and tonumber(found[1]) > tonumber(now) then stamp = found[1] end
local bytes = tonumber(found[2] or '0')
-- Without a job that waits the count is wrong: another tool removed one.
if bytes > 0 and bytes + #ARGV[3] > tonumber(ARGV[6]) and call('LLEN', KEYS[1]) > 0 then
  if isRead then return {-bytes, now} end
  return -bytes
end
call('HINCRBY', KEYS[3], 'onewriter.bytes', #ARGV[3])
call('HSET', KEYS[2], 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4], 'timestamp', stamp, 'delay', '0', 'priority', '0')`;

/*
 * Puts a job on a tenant's BullMQ queue. The data structures are BullMQ's (6.7, addStandardJob-9.lua): the job's hash,
 * and its id at the head of `wait`, so its tools and Bull Board see nothing unusual. Left out is what the jobs of a
 * tenant's queue cannot have (parents, delays, priorities, deduplication) and what no process reads: the queue's own events
 * `added` and `waiting`, and the marker that wakes BullMQ's workers; the broker has its own notification. That makes it one
 * third of BullMQ's script in time, and the length of the queue comes with it.
 *
 * A job whose id is there is not added again, so that it can be sent twice.
 *
 * Its `timestamp` is by Redis' clock, the one clock that all clients share, and never before that of a job that the broker has
 * fetched: so the broker recognises a job that an old snapshot of Redis brings back (ADR 0027). A client that has read that
 * clock a moment ago says the time itself, because TIME is the most expensive command here (redis-clock.ts).
 *
 * `onewriter.bytes` of `meta` counts the bytes of the data that waits (ADR 0035). A job that would make them more than the bound
 * is not added; one that finds none waiting is, whatever its size.
 *
 * KEYS wait, job, meta · ARGV id, name, data, opts, time by Redis' clock (ms, '' to have it read), most bytes that may wait
 * Returns how many jobs wait, or where it was not added the bytes that wait, negative; and where it was read, the time.
 */
const LUA = `
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then return call('LLEN', KEYS[1]) end
${ADD}
local depth = call('LPUSH', KEYS[1], ARGV[1])
if isRead then return {depth, now} end
return depth`;

/*
 * The same for steps of an open transaction: at the tail, where the oldest job is, because everything that waits waits for
 * them. Returns 0: their sender is not held up by the length of the queue.
 */
const LUA_FRONT = `
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then return 0 end
${ADD}
call('RPUSH', KEYS[1], ARGV[1])
if isRead then return {0, now} end
return 0`;

/*
 * Removes a job that has not begun from the queue. KEYS wait, job, meta · ARGV id
 * Returns 1 where it was waiting: it will not run.
 */
const LUA_WITHDRAW = `
if redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[3], 'onewriter.bytes', -redis.call('HSTRLEN', KEYS[2], 'data'))
redis.call('DEL', KEYS[2])
return 1`;

const ADD_BACK = defineScript(LUA);
const ADD_FRONT = defineScript(LUA_FRONT);

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

/** What the script answers: how many jobs wait (negative: the bytes that wait, too many to add it), and the time, if it was asked for. */
export function readAdded(reply: unknown): { readonly depth: number; readonly redisMs?: number } {
  if (!Array.isArray(reply)) return { depth: typeof reply === 'number' ? reply : 0 };
  const [depth, redisMs] = reply as [number, string];
  return { depth, redisMs: Number(redisMs) };
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
  return (await redis.call('EVAL', LUA_WITHDRAW, 3, `${keys}wait`, keys + jobId, `${keys}meta`, jobId)) === 1;
}
