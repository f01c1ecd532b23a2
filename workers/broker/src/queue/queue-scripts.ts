import {
  FETCH_FOLLOW_UPS,
  FETCH_JOBS,
  FINISH_JOBS,
  FORGET_DOUBT,
  RECLAIM_JOBS,
  RENEW_LOCKS,
  REQUEUE_JOBS,
} from './lua-scripts.ts';
import { defineScript } from './redis-link.ts';

/*
 * The broker's operations on a tenant's BullMQ queue, for several jobs in one call. The data structures are BullMQ's
 * (6.7: moveToActive-11.lua, moveToFinished-14.lua, moveJobFromActiveToWait-9.lua), so its tools and Bull Board see
 * nothing unusual: `wait` (new jobs at the head, the oldest at the tail), `active` (same), `completed` and `failed`
 * by time, a hash and a lock per job. Omitted is what the queues of a broker cannot have: parents, delays, priorities, rate
 * limits, retries; and the queue's own events: callers are answered through their inbox.
 *
 * Each script's first write is a delete, which Redis allows at its memory limit, and which lets the later writes through: a
 * full Redis could otherwise never be emptied. Source: Redis, script.c (scriptVerifyOOM).
 *
 * An overtaken leader may still send commands: it was stopped in the middle of a call, or does not know yet that its lease is
 * gone. And what was sent on a broken connection may be executed after what was sent on the next (turn.ts). So a field of the
 * queue's `meta` names its owner: the epoch of the leader that last reclaimed it, and the turn of that reclaim. Each command
 * carries the epoch and the turn that it was sent under:
 *
 *   fetchJobs, fetchFollowUps   only under the noted turn: otherwise later jobs would overtake, and no broker would know the
 *                               fetched ones
 *   finishJobs                  committed jobs are completed at any time; a job fails only if no reclaim followed
 *   reclaimJobs, requeueJobs    with a turn of their own, newer than the noted one; it is noted
 *   forgetDoubt                 if no reclaim or requeue followed
 *   renewLocks                  at any time: it only makes the broker's own lock last longer
 *
 * `onewriter.bytes` of `meta` counts the bytes of the waiting jobs (ADR 0035): each script that puts a job into `wait` adds those
 * of its data, each that removes one subtracts them. Other tools do not; the count is right again when none waits.
 */

export const fetchJobs = defineScript(3, FETCH_JOBS);
export const fetchFollowUps = defineScript(3, FETCH_FOLLOW_UPS);
export const finishJobs = defineScript(5, FINISH_JOBS);
// In full: a fetch is sent behind it. Executed before, its jobs would be among the reclaimed ones, too.
export const reclaimJobs = defineScript(2, RECLAIM_JOBS, true);
export const requeueJobs = defineScript(3, REQUEUE_JOBS);
export const forgetDoubt = defineScript(1, FORGET_DOUBT);
export const renewLocks = defineScript(1, RENEW_LOCKS);

/** Jobs at the tail of wait that are searched for follow-ups; requeued jobs may lie behind these. */
export const FOLLOW_UPS_AMONG = 128;
