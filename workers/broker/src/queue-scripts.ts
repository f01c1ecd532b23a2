import { defineScript } from './redis-link.ts';

/*
 * What the broker does with a tenant's BullMQ queue, for several jobs in one call. The data structures are BullMQ's
 * (6.7: moveToActive-11.lua, moveToFinished-14.lua, moveJobFromActiveToWait-9.lua), so its tools and Bull Board see
 * nothing unusual: `wait` (new jobs at the head, the oldest at the tail), `active` (same), `completed` and `failed`
 * by time, a hash and a lock per job. Left out is what the queues of a broker cannot have: parents, delays,
 * priorities, rate limits, retries; and the queue's own events: callers are told through their inbox.
 *
 * What each script writes first is a delete, which Redis allows at its memory limit, and lets what follows it through: else
 * a full Redis could never be emptied. Source: Redis, script.c (scriptVerifyOOM).
 *
 * A leader that was overtaken may still speak: stopped in the middle of a call, or with a lease it has not missed yet. The
 * epoch of the newest leader that had a queue is a field of its `meta`; an older one neither takes nor puts back, or
 * later jobs would overtake those it holds.
 */

/**
 * The epoch of the leader that a queue belongs to, a field of its `meta`. Only an adoption makes it ours: where Redis lost
 * its data the field is gone, an older leader may have taken jobs since, and whoever had the queue has to look at what is
 * active before it takes more. Nothing is taken or adopted of a tenant that is held: a program works on its file (ADR 0025).
 */
const FENCE = `
local function fence(meta, epoch)
  local found = redis.call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.added')
  local newest = tonumber(found[1] or '0')
  if newest > epoch then return {-2, newest} end
  if found[3] then return {-4} end
  if newest < epoch then return {-3} end
  return nil, found[2], found[4]
end
`;

/** How far what is noted of the newest job's time may lie behind; the ledger covers an hour and more. */
const NOTE_ADDED_EVERY_MS = 60_000;

/** Each command that a script calls costs about a microsecond, twice that where it writes: as few as will do. */
const TAKE = `
${FENCE}
local function start(key, token, lockMs, now)
  redis.call('SET', key .. ':lock', token, 'PX', lockMs)
  redis.call('HSET', key, 'processedOn', now, 'ats', '1')
end
-- Redis' clock may step back: jobs that are added from then on are not to seem older than these (add-job-script.ts).
local function noteAdded(meta, noted, added)
  added = tonumber(added or '')
  if added and added > tonumber(noted or '0') + ${NOTE_ADDED_EVERY_MS} then
    redis.call('HSET', meta, 'onewriter.added', added)
  end
end
local function take(wait, active, meta, prefix, token, lockMs, now, maxJobs, maxBytes, noted)
  local waiting = redis.call('LLEN', wait)
  if waiting == 0 then return {0} end
  redis.call('HDEL', meta, '')
  local taken = {waiting}
  local bytes = 0
  local newest
  for n = 1, math.min(maxJobs, waiting) do
    local id, key, data, added
    if n > 1 then
      -- How large it is has to be known first.
      id = redis.call('LINDEX', wait, -1)
      data, added = unpack(redis.call('HMGET', prefix .. id, 'data', 'timestamp'))
      if data and bytes > 0 and bytes + #data > maxBytes then break end
      redis.call('RPOPLPUSH', wait, active)
      key = prefix .. id
    else
      id = redis.call('RPOPLPUSH', wait, active)
      key = prefix .. id
      data, added = unpack(redis.call('HMGET', key, 'data', 'timestamp'))
    end
    waiting = waiting - 1
    if data then
      bytes = bytes + #data
      start(key, token, lockMs, now)
      taken[#taken + 1] = id
      taken[#taken + 1] = data
      taken[#taken + 1] = added or ''
      newest = added
    else
      redis.call('LREM', active, 1, id)
    end
  end
  noteAdded(meta, noted, newest)
  taken[1] = waiting
  return taken
end
`;

/**
 * Moves the oldest waiting jobs to active.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, epoch
 * Returns jobs left in wait (-1: the queue is paused; -2: it belongs to a newer leader, whose epoch follows; -3: it has to
 * be adopted first; -4: the tenant is held), then id, data and time of adding of each.
 */
export const takeJobs = defineScript(
  3,
  `${TAKE}
local refusal, paused, noted = fence(KEYS[3], tonumber(ARGV[7]))
if refusal then return refusal end
if paused then return {-1} end
return take(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), noted)`,
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
  `${TAKE}
local refusal, paused = fence(KEYS[3], tonumber(ARGV[5]))
if refusal then return refusal end
redis.call('HDEL', KEYS[3], '')
local taken = {0}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], -${FOLLOW_UPS_AMONG}, -1)) do
  if string.sub(id, 1, 2) == 's-' then
    local key = ARGV[1] .. id
    local data, added = unpack(redis.call('HMGET', key, 'data', 'timestamp'))
    redis.call('LREM', KEYS[1], -1, id)
    if data then
      redis.call('LPUSH', KEYS[2], id)
      start(key, ARGV[2], ARGV[3], ARGV[4])
      taken[#taken + 1] = id
      taken[#taken + 1] = data
      taken[#taken + 1] = added or ''
    end
  end
end
if not paused then taken[1] = redis.call('LLEN', KEYS[1]) end
return taken`,
);

/** Jobs above those that are kept, before they are deleted: all at once. */
const TRIM_SLACK = 10;

/**
 * Moves active jobs to completed or failed, trims those to the newest (or a few more), and takes the next.
 * A job is failed only under our own lock: without it another broker has the job and may be committing it. A job that
 * is completed is committed, whoever holds the lock.
 * KEYS wait, active, meta, completed, failed · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, epoch, keep, then
 * id, 'completed' or 'failed', and value of each
 * Returns the ids that were not failed, then what `take` returns (maxJobs 0: an empty list).
 */
export const finishJobs = defineScript(
  5,
  `${TAKE}
local prefix, token, now = ARGV[1], ARGV[2], ARGV[4]
local keep = tonumber(ARGV[8])
local refused = {}
local function trim(finished)
  local excess = redis.call('ZCARD', finished) - keep
  if excess < ${TRIM_SLACK} then return end
  local oldest = redis.call('ZPOPMIN', finished, excess)
  for i = 1, #oldest, 2 do redis.call('DEL', prefix .. oldest[i], prefix .. oldest[i] .. ':logs') end
end
local completed, failed = false, false
for i = 9, #ARGV, 3 do
  local id = ARGV[i]
  local key = prefix .. id
  local lock = key .. ':lock'
  local fails = ARGV[i + 1] == 'failed'
  if fails and redis.call('GET', lock) ~= token then
    refused[#refused + 1] = id
  else
    redis.call('DEL', lock)
    if redis.call('LREM', KEYS[2], -1, id) == 1 then
      if fails then
        failed = true
        redis.call('HSET', key, 'failedReason', ARGV[i + 2], 'finishedOn', now, 'atm', '1')
        redis.call('ZADD', KEYS[5], now, id)
      else
        completed = true
        redis.call('HSET', key, 'returnvalue', ARGV[i + 2], 'finishedOn', now, 'atm', '1')
        redis.call('ZADD', KEYS[4], now, id)
      end
    end
  end
end
if completed then trim(KEYS[4]) end
if failed then trim(KEYS[5]) end
if ARGV[5] == '0' then return {refused, {}} end
local refusal, paused, noted = fence(KEYS[3], tonumber(ARGV[7]))
if refusal then return {refused, refusal} end
if paused then return {refused, {-1}} end
return {refused, take(KEYS[1], KEYS[2], KEYS[3], prefix, token, ARGV[3], now, tonumber(ARGV[5]), tonumber(ARGV[6]), noted)}`,
);

/**
 * Makes all active jobs ours, oldest first: a dead leader's, or those of a take whose answer was lost.
 * KEYS active, meta · ARGV prefix, token, lockMs, epoch
 * Returns as {@link takeJobs}; what waits is not counted: 1 says that jobs were put back that may be applied.
 */
export const adoptJobs = defineScript(
  2,
  `
local epoch = tonumber(ARGV[4])
redis.call('HDEL', KEYS[2], '')
local found = redis.call('HMGET', KEYS[2], 'onewriter.epoch', 'onewriter.holds')
local newest = tonumber(found[1] or '0')
if newest > epoch then return {-2, newest} end
if found[2] then return {-4} end
if newest < epoch then redis.call('HSET', KEYS[2], 'onewriter.epoch', string.format('%d', epoch)) end
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local jobs = {redis.call('HEXISTS', KEYS[2], 'onewriter.doubt')}
for i = #ids, 1, -1 do
  local key = ARGV[1] .. ids[i]
  local data, added = unpack(redis.call('HMGET', key, 'data', 'timestamp'))
  if data then
    redis.call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    jobs[#jobs + 1] = ids[i]
    jobs[#jobs + 1] = data
    jobs[#jobs + 1] = added or ''
  else
    redis.call('LREM', KEYS[1], 1, ids[i])
  end
end
return jobs`,
  // A take is sent behind it: executed before, its jobs would be among those adopted, too.
  true,
);

/**
 * Puts active jobs of ours back to the tail of wait, where the oldest is. Where one of them may be applied, whoever takes
 * them next has to know: it is a field of `meta` until the ledger could be asked.
 * KEYS wait, active, meta · ARGV prefix, token, epoch, doubt (1 or 0), ids (newest first)
 * Returns how many.
 */
export const returnJobs = defineScript(
  3,
  `
local returned = 0
redis.call('HDEL', KEYS[3], '')
if tonumber(redis.call('HGET', KEYS[3], 'onewriter.epoch') or '0') > tonumber(ARGV[3]) then return returned end
if ARGV[4] == '1' then redis.call('HSET', KEYS[3], 'onewriter.doubt', 1) end
for i = 5, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if redis.call('GET', key .. ':lock') == ARGV[2] then
    redis.call('DEL', key .. ':lock')
    if redis.call('LREM', KEYS[2], 1, ARGV[i]) == 1 then
      redis.call('RPUSH', KEYS[1], ARGV[i])
      redis.call('HDEL', key, 'processedOn', 'ats')
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
