import { defineScript } from './redis-link.ts';

/*
 * What the broker does with a tenant's BullMQ queue, for several jobs in one call. The data structures are BullMQ's
 * (6.7: moveToActive-11.lua, moveToFinished-14.lua, moveJobFromActiveToWait-9.lua), so its tools and Bull Board see
 * nothing unusual: `wait` (new jobs at the head, the oldest at the tail), `active` (same), `completed` and `failed`
 * by time, a hash and a lock per job. Left out is what the queues of a broker cannot have: parents, delays,
 * priorities, rate limits, retries; and the queue's own events: callers are told through their inbox.
 *
 * Each script begins with a delete, which Redis allows at its memory limit, and lets what follows it through: else a
 * full Redis could never be emptied. Source: Redis, script.c (scriptVerifyOOM).
 *
 * A leader that was overtaken may still speak: stopped in the middle of a call, or with a lease it has not missed yet. The
 * epoch of the newest leader that had a queue is a field of its `meta`; an older one neither takes nor puts back, or
 * later jobs would overtake those it holds.
 */

/**
 * The epoch of the leader that a queue belongs to, a field of its `meta`. Only an adoption makes it ours: where Redis lost
 * its data the field is gone, an older leader may have taken jobs since, and whoever had the queue has to look at what is
 * active before it takes more.
 */
const FENCE = `
local function owner(meta)
  redis.call('HDEL', meta, '')
  return tonumber(redis.call('HGET', meta, 'onewriter.epoch') or '0')
end
local function fence(meta, epoch)
  local newest = owner(meta)
  if newest > epoch then return {-2, newest} end
  if newest < epoch then return {-3} end
  return nil
end
`;

const TAKE = `
${FENCE}
local function take(wait, active, meta, prefix, token, lockMs, now, maxJobs, maxBytes)
  if redis.call('HEXISTS', meta, 'paused') == 1 then return {-1} end
  local taken = {0}
  local bytes = 0
  for _ = 1, maxJobs do
    local id = redis.call('LINDEX', wait, -1)
    if not id then break end
    local key = prefix .. id
    local data = redis.call('HGET', key, 'data')
    if data and bytes > 0 and bytes + #data > maxBytes then break end
    redis.call('RPOPLPUSH', wait, active)
    if data then
      bytes = bytes + #data
      redis.call('SET', key .. ':lock', token, 'PX', lockMs)
      redis.call('HSET', key, 'processedOn', now)
      redis.call('HINCRBY', key, 'ats', 1)
      taken[#taken + 1] = id
      taken[#taken + 1] = data
    else
      redis.call('LREM', active, 1, id)
    end
  end
  taken[1] = redis.call('LLEN', wait)
  return taken
end
`;

/**
 * Moves the oldest waiting jobs to active.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, epoch
 * Returns jobs left in wait (-1: the queue is paused; -2: it belongs to a newer leader, whose epoch follows; -3: it has to
 * be adopted first), then id and data of each.
 */
export const takeJobs = defineScript(
  3,
  `${TAKE}
local refusal = fence(KEYS[3], tonumber(ARGV[7]))
if refusal then return refusal end
return take(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]))`,
);

/** Jobs at the tail of wait among which follow-ups are looked for; what was put back may lie behind them. */
const FOLLOW_UPS_AMONG = 128;

/**
 * Moves to active the jobs that go on with an open transaction, and no others; a pause of the queue does not stop them.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, epoch
 * Returns as {@link takeJobs}; what waits are other jobs, 0 where the queue is paused.
 */
export const takeFollowUps = defineScript(
  3,
  `${FENCE}
local refusal = fence(KEYS[3], tonumber(ARGV[5]))
if refusal then return refusal end
local taken = {0}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], -${FOLLOW_UPS_AMONG}, -1)) do
  if string.sub(id, 1, 2) == 's-' then
    local key = ARGV[1] .. id
    local data = redis.call('HGET', key, 'data')
    redis.call('LREM', KEYS[1], -1, id)
    if data then
      redis.call('LPUSH', KEYS[2], id)
      redis.call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
      redis.call('HSET', key, 'processedOn', ARGV[4])
      redis.call('HINCRBY', key, 'ats', 1)
      taken[#taken + 1] = id
      taken[#taken + 1] = data
    end
  end
end
if redis.call('HEXISTS', KEYS[3], 'paused') == 0 then taken[1] = redis.call('LLEN', KEYS[1]) end
return taken`,
);

/**
 * Moves active jobs to completed or failed, trims those to the newest, and takes the next.
 * A job is failed only under our own lock: without it another broker has the job and may be committing it. A job that
 * is completed is committed, whoever holds the lock.
 * KEYS wait, active, meta, completed, failed · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, epoch, keep, then
 * id, 'completed' or 'failed', and value of each
 * Returns the ids that were not failed, then what `take` returns (maxJobs 0: an empty list).
 */
export const finishJobs = defineScript(
  5,
  `${TAKE}
local prefix, token = ARGV[1], ARGV[2]
local refusal = fence(KEYS[3], tonumber(ARGV[7]))
local keep = tonumber(ARGV[8])
local refused = {}
for i = 9, #ARGV, 3 do
  local id = ARGV[i]
  local key = prefix .. id
  local lock = key .. ':lock'
  if ARGV[i + 1] == 'failed' and redis.call('GET', lock) ~= token then
    refused[#refused + 1] = id
  else
    redis.call('DEL', lock)
    if redis.call('LREM', KEYS[2], -1, id) == 1 and redis.call('EXISTS', key) == 1 then
      local failed = ARGV[i + 1] == 'failed'
      redis.call('HSET', key, failed and 'failedReason' or 'returnvalue', ARGV[i + 2], 'finishedOn', ARGV[4])
      redis.call('HINCRBY', key, 'atm', 1)
      redis.call('ZADD', failed and KEYS[5] or KEYS[4], ARGV[4], id)
    end
  end
end
for i = 4, 5 do
  local excess = redis.call('ZCARD', KEYS[i]) - keep
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[i], excess)
    for j = 1, #oldest, 2 do redis.call('DEL', prefix .. oldest[j], prefix .. oldest[j] .. ':logs') end
  end
end
if ARGV[5] == '0' then return {refused, {}} end
if refusal then return {refused, refusal} end
return {refused, take(KEYS[1], KEYS[2], KEYS[3], prefix, token, ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]))}`,
);

/**
 * Makes all active jobs ours, oldest first: a dead leader's, or those of a take whose answer was lost.
 * KEYS active, meta · ARGV prefix, token, lockMs, epoch
 * Returns as {@link takeJobs}; what waits is not counted.
 */
export const adoptJobs = defineScript(
  2,
  `${FENCE}
local epoch = tonumber(ARGV[4])
local newest = owner(KEYS[2])
if newest > epoch then return {-2, newest} end
if newest < epoch then redis.call('HSET', KEYS[2], 'onewriter.epoch', string.format('%d', epoch)) end
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local jobs = {0}
for i = #ids, 1, -1 do
  local key = ARGV[1] .. ids[i]
  local data = redis.call('HGET', key, 'data')
  if data then
    redis.call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    jobs[#jobs + 1] = ids[i]
    jobs[#jobs + 1] = data
  else
    redis.call('LREM', KEYS[1], 1, ids[i])
  end
end
return jobs`,
);

/**
 * Puts active jobs of ours back to the tail of wait, where the oldest is.
 * KEYS wait, active, meta · ARGV prefix, token, epoch, ids (newest first)
 * Returns how many.
 */
export const returnJobs = defineScript(
  3,
  `${FENCE}
local returned = 0
if owner(KEYS[3]) > tonumber(ARGV[3]) then return returned end
for i = 4, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if redis.call('GET', key .. ':lock') == ARGV[2] then
    redis.call('DEL', key .. ':lock')
    if redis.call('LREM', KEYS[2], 1, ARGV[i]) == 1 then
      redis.call('RPUSH', KEYS[1], ARGV[i])
      redis.call('HDEL', key, 'processedOn')
      redis.call('HINCRBY', key, 'ats', -1)
      returned = returned + 1
    end
  end
end
return returned`,
);

/**
 * Keeps locks of ours alive. KEYS active (names the slot) · ARGV prefix, token, lockMs, ids
 * Returns how many are still ours.
 */
export const renewLocks = defineScript(
  1,
  `
local renewed = 0
for i = 4, #ARGV do
  local lock = ARGV[1] .. ARGV[i] .. ':lock'
  if redis.call('GET', lock) == ARGV[2] then renewed = renewed + redis.call('PEXPIRE', lock, ARGV[3]) end
end
return renewed`,
);
