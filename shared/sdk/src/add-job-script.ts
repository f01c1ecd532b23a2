import type { QueueAddress } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { OutboundJob } from './outbound-job.ts';

/*
 * Puts a job on a tenant's BullMQ queue. The data structures are BullMQ's (6.7, addStandardJob-9.lua): the job's hash,
 * and its id at the head of `wait`, so its tools and Bull Board see nothing unusual. Left out is what the jobs of a
 * tenant's queue cannot have (parents, delays, priorities, deduplication) and what nobody reads: the queue's own events
 * `added` and `waiting`, and the marker that wakes BullMQ's workers; the broker has its doorbell. That makes it one
 * third of BullMQ's script in time, and the length of the queue comes with it.
 *
 * A job whose id is there is not added again, so that it can be sent twice.
 *
 * KEYS wait, job · ARGV id, name, data, opts, timestamp
 * Returns how many jobs wait.
 */
const LUA = `
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('LLEN', KEYS[1]) end
redis.call('HSET', KEYS[2], 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4], 'timestamp', ARGV[5], 'delay', '0',
  'priority', '0')
return redis.call('LPUSH', KEYS[1], ARGV[1])`;

const NAME = 'onewriterAdd';

/** `attempts: 1`: a retry would push the job behind later ones; the writer retries what can be retried, in its place. */
const OPTIONS = JSON.stringify({ attempts: 1, stackTraceLimit: 0 });

/** Defines the script on a connection; the result is what {@link addJob} takes. */
export function withAddJob(redis: Redis): RedisWithAddJob {
  redis.defineCommand(NAME, { lua: LUA, numberOfKeys: 2 });
  return redis as RedisWithAddJob;
}

/** A connection on which the script is defined. */
export interface RedisWithAddJob extends Redis {
  [NAME](...args: (string | number)[]): Promise<number>;
}

/**
 * Adds a job, in one command.
 * @returns how many jobs wait in the queue
 * @throws as any command of Redis; then the job is not in the queue, unless the connection broke
 */
export function addJob(
  redis: RedisWithAddJob,
  { prefix, name }: QueueAddress,
  job: OutboundJob,
): Promise<number> {
  const keys = `${prefix}:${name}:`;
  return redis[NAME](`${keys}wait`, keys + job.id, job.id, job.name, job.message, OPTIONS, Date.now());
}
