import { ADOPTED_SINCE } from '@onewriter/tenants';
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
 *   takeJobs, takeFollowUps   only under the noted turn: otherwise later jobs would overtake, and no broker would know the fetched ones
 *   finishJobs                committed jobs are completed at any time; a job fails only if no reclaim followed
 *   adoptJobs, returnJobs     with a turn of their own, newer than the noted one; it is noted
 *   forgetDoubt               if no reclaim or requeue followed
 *   renewLocks                at any time: it only makes the broker's own lock last longer
 *
 * `onewriter.bytes` of `meta` counts the bytes of the waiting jobs (ADR 0035): each script that puts a job into `wait` adds those
 * of its data, each that removes one subtracts them. Other tools do not; the count is right again when none waits.
 */

/**
 * Only a reclaim makes a broker the owner of a queue. If Redis lost its data the field is gone, and an older leader may have
 * fetched jobs since, so the owner has to read the active jobs before it fetches more. Jobs of a held tenant are neither fetched
 * nor reclaimed: a program works on its file (ADR 0025).
 */
const FENCE = `
local found = call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.bytes')
local paused, waitingBytes = found[2], found[4]
local refusal
if found[1] ~= word or found[3] then
  ${ADOPTED_SINCE}
  local since, newest = adoptedSince(found[1], word)
  if since == 'leader' then refusal = {-2, newest}
  elseif found[3] then refusal = {-4}
  else refusal = {-3} end
end
`;

/**
 * Fetches up to maxJobs into `taken`. Each command that a script calls costs about half a microsecond, twice that if it
 * writes, and each function that it defines about 0.2: so it uses as few as possible. The first write is a delete, see above.
 * Data that a script reads is copied twice, 10 to 25 ms for 8 MB, in which Redis answers no other client. So if not all
 * waiting jobs fit, sizes are read first, and data only of the fetched jobs.
 */
const TAKE = `
local waiting = call('LLEN', wait)
local taken = {waiting}
if waiting > 0 then
  local bytes = 0
  local newest, tooLarge
  local mayExceed = not waitingBytes or tonumber(waitingBytes) > maxBytes
  for n = 1, math.min(maxJobs, waiting) do
    local id, job, size
    if n > 1 or mayExceed then
      -- Its size has to be known first.
      id = call('LINDEX', wait, -1)
      if mayExceed then size = call('HSTRLEN', prefix .. id, 'data')
      else
        job = call('HMGET', prefix .. id, 'data', 'timestamp')
        size = #(job[1] or '')
      end
      if bytes + size > maxBytes then
        if #taken == 1 then tooLarge = size end
        break
      end
      if n > 1 then call('RPOPLPUSH', wait, active)
      else
        call('RPOP', wait)
        call('LPUSH', active, id)
      end
      job = job or call('HMGET', prefix .. id, 'data', 'timestamp')
    else
      id = call('RPOP', wait)
      call('LPUSH', active, id)
      job = call('HMGET', prefix .. id, 'data', 'timestamp')
      if job[1] and #job[1] > maxBytes then
        call('LPOP', active)
        call('RPUSH', wait, id)
        tooLarge = #job[1]
        break
      end
    end
    waiting = waiting - 1
    if job[1] then
      local key = prefix .. id
      bytes = bytes + #job[1]
      newest = job[2]
      call('SET', key .. ':lock', token, 'PX', lockMs)
      call('HSET', key, 'processedOn', now, 'ats', '1')
      taken[#taken + 1] = id
      taken[#taken + 1] = job[1]
      taken[#taken + 1] = newest or ''
    else
      call('LREM', active, 1, id)
    end
  end
  if tooLarge then taken = {-5, tooLarge, waiting} else taken[1] = waiting end
  -- Without waiting jobs the field is removed, which corrects any wrong count.
  if waitingBytes and not tooLarge then
    if waiting > 0 and tonumber(waitingBytes) > bytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes)
    else call('HDEL', meta, 'onewriter.bytes') end
  end
  -- Redis' clock may step back: jobs added later must not seem older than these (add-job-script.ts).
  local added = tonumber(newest or '')
  if added and added >= noteFrom and added > tonumber(call('HGET', meta, 'onewriter.added') or '0') then
    call('HSET', meta, 'onewriter.added', newest)
  end
end
`;

/**
 * Moves the oldest waiting jobs to active; with `ifIdle` (1 or 0) only if none is active.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, time from which to note it, ifIdle
 * Returns jobs left in wait (-1: the queue is paused; -2: it belongs to a newer leader, whose epoch follows; -3: it has to
 * be reclaimed first; -4: the tenant is held; -5: the oldest is larger than maxBytes, its size and the jobs in wait follow),
 * then id, data and time of adding of each.
 */
export const takeJobs = defineScript(
  3,
  `
local call = redis.call
local wait, active, meta, prefix, token, lockMs, now = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local maxJobs, maxBytes, word, noteFrom = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
${FENCE}
if refusal then return refusal end
if paused then return {-1} end
if ARGV[9] == '1' and call('EXISTS', active) == 1 then return {call('LLEN', wait)} end
${TAKE}
return taken`,
);

/** Jobs at the tail of wait that are searched for follow-ups; requeued jobs may lie behind these. */
export const FOLLOW_UPS_AMONG = 128;

/**
 * Moves to active the jobs that continue an open transaction, all of them and no others; a pause of the queue does not stop
 * them.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, word, maxBytes
 * Returns as {@link takeJobs}; the jobs in wait are other jobs, 0 where the queue is paused, and -5 gives the size of all.
 */
export const takeFollowUps = defineScript(
  3,
  `
local call = redis.call
local wait, active, meta, prefix, word = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[5]
${FENCE}
if refusal then return refusal end
call('HDEL', meta, '')
local found, bytes = {}, 0
for _, id in ipairs(call('LRANGE', wait, -${FOLLOW_UPS_AMONG}, -1)) do
  if string.sub(id, 1, 2) == 's-' then
    found[#found + 1] = id
    bytes = bytes + call('HSTRLEN', prefix .. id, 'data')
  end
end
if bytes > tonumber(ARGV[6]) then return {-5, bytes, call('LLEN', wait)} end
local taken = {0}
for _, id in ipairs(found) do
  local key = prefix .. id
  local job = call('HMGET', key, 'data', 'timestamp')
  call('LREM', wait, -1, id)
  if job[1] then
    call('LPUSH', active, id)
    call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    call('HSET', key, 'processedOn', ARGV[4], 'ats', '1')
    taken[#taken + 1] = id
    taken[#taken + 1] = job[1]
    taken[#taken + 1] = job[2] or ''
  end
end
if bytes > 0 and waitingBytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes) end
if not paused then taken[1] = call('LLEN', wait) end
return taken`,
);

/** How many more jobs than those to keep may gather before they are deleted together. */
const TRIM_SLACK = 10;

/**
 * Moves active jobs to completed or failed, trims those lists to the newest (or a few more), and fetches the next. A finished
 * job's data is dropped: a write that a person may send again is in a dead letter (ADR 0035).
 * A job fails only under this broker's own lock, and if the queue was not reclaimed since: otherwise it may be being committed.
 * A completed job is committed, whichever broker holds the lock.
 * KEYS wait, active, meta, completed, failed · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, keep, time from
 * which to note it, then id, 'completed' or 'failed', and value of each
 * Returns the ids that were not failed, then the result of the fetch (maxJobs 0: an empty list).
 */
export const finishJobs = defineScript(
  5,
  `
local call = redis.call
local wait, active, meta, prefix, token, lockMs, now = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local maxJobs, maxBytes, word, noteFrom = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[9])
local keep = tonumber(ARGV[8])
local refused = {}
local mayFail, hasCompleted, hasFailed
for i = 10, #ARGV, 3 do
  local id = ARGV[i]
  local key = prefix .. id
  local lock = key .. ':lock'
  local fails = ARGV[i + 1] == 'failed'
  if fails and mayFail == nil then
    ${ADOPTED_SINCE}
    mayFail = not adoptedSince(call('HGET', meta, 'onewriter.epoch'), word)
  end
  if fails and not (mayFail and call('GET', lock) == token) then
    -- A call whose answer was lost may have failed it already.
    if not call('ZSCORE', KEYS[5], id) then refused[#refused + 1] = id end
  else
    call('DEL', lock)
    if call('LREM', active, -1, id) == 1 then
      if fails then
        hasFailed = true
        call('HSET', key, 'data', '', 'failedReason', ARGV[i + 2], 'finishedOn', now, 'atm', '1')
        call('ZADD', KEYS[5], now, id)
      else
        hasCompleted = true
        call('HSET', key, 'data', '', 'returnvalue', ARGV[i + 2], 'finishedOn', now, 'atm', '1')
        call('ZADD', KEYS[4], now, id)
      end
    end
  end
end
for n = 4, 5 do
  local excess = 0
  if n == 4 and hasCompleted or n == 5 and hasFailed then excess = call('ZCARD', KEYS[n]) - keep end
  if excess >= ${TRIM_SLACK} then
    local oldest = call('ZPOPMIN', KEYS[n], excess)
    for i = 1, #oldest, 2 do call('DEL', prefix .. oldest[i], prefix .. oldest[i] .. ':logs') end
  end
end
if maxJobs == 0 then return {refused, {}} end
${FENCE}
if refusal then return {refused, refusal} end
if paused then return {refused, {-1}} end
${TAKE}
return {refused, taken}`,
);

/**
 * Makes this broker the owner of all active jobs, oldest first: a dead leader's, or those of a fetch whose answer was lost. Their
 * data stays in Redis until there is room for it.
 * KEYS active, meta · ARGV prefix, token, lockMs, word with a new turn
 * Returns as {@link takeJobs}, with the data's size in its place (-3: it is older than the last reclaim); waiting jobs are not
 * counted: 1 says that some of the requeued jobs may be applied.
 */
export const adoptJobs = defineScript(
  2,
  `${ADOPTED_SINCE}
redis.call('HDEL', KEYS[2], '')
local noted, holds = unpack(redis.call('HMGET', KEYS[2], 'onewriter.epoch', 'onewriter.holds'))
local since, newest = adoptedSince(noted, ARGV[4])
if since == 'leader' then return {-2, newest} end
if since == 'turn' then return {-3} end
if holds then return {-4} end
redis.call('HSET', KEYS[2], 'onewriter.epoch', ARGV[4])
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local jobs = {redis.call('HEXISTS', KEYS[2], 'onewriter.doubt')}
for i = #ids, 1, -1 do
  local key = ARGV[1] .. ids[i]
  -- The data of a finished job is empty.
  if redis.call('HEXISTS', key, 'data') == 1 then
    redis.call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    jobs[#jobs + 1] = ids[i]
    jobs[#jobs + 1] = redis.call('HSTRLEN', key, 'data')
    jobs[#jobs + 1] = redis.call('HGET', key, 'timestamp') or ''
  else
    redis.call('LREM', KEYS[1], 1, ids[i])
  end
end
return jobs`,
  // A fetch is sent behind it: executed before, its jobs would be among the reclaimed ones, too.
  true,
);

/**
 * Requeues this broker's active jobs at the tail of wait, where the oldest is. If one of them may be applied, the next broker
 * that fetches them has to know: a field of `meta` says so until the ledger could be asked.
 * A repeated call has a newer turn: the first may be executed after it, when the jobs were fetched again.
 * KEYS wait, active, meta · ARGV prefix, token, word with a new turn, doubt (1 or 0), ids (newest first)
 * Returns how many.
 */
export const returnJobs = defineScript(
  3,
  `${ADOPTED_SINCE}
local returned, bytes = 0, 0
redis.call('HDEL', KEYS[3], '')
local noted = redis.call('HGET', KEYS[3], 'onewriter.epoch')
if adoptedSince(noted, ARGV[3]) then return returned end
-- If Redis lost its data only a reclaim makes a broker the owner, and only locks say which jobs are its own.
local ours = (readTurn(noted)) == (readTurn(ARGV[3]))
if ours then redis.call('HSET', KEYS[3], 'onewriter.epoch', ARGV[3]) end
if ARGV[4] == '1' then redis.call('HSET', KEYS[3], 'onewriter.doubt', 1) end
for i = 5, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if ours or redis.call('GET', key .. ':lock') == ARGV[2] then
    redis.call('DEL', key .. ':lock')
    if redis.call('LREM', KEYS[2], 1, ARGV[i]) == 1 then
      redis.call('RPUSH', KEYS[1], ARGV[i])
      redis.call('HDEL', key, 'processedOn', 'ats')
      returned = returned + 1
      bytes = bytes + redis.call('HSTRLEN', key, 'data')
    end
  end
end
if bytes > 0 then redis.call('HINCRBY', KEYS[3], 'onewriter.bytes', bytes) end
return returned`,
);

/**
 * The ledger could be asked about all requeued jobs. KEYS meta · ARGV word
 */
export const forgetDoubt = defineScript(
  1,
  `${ADOPTED_SINCE}
if adoptedSince(redis.call('HGET', KEYS[1], 'onewriter.epoch'), ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'onewriter.doubt')`,
);

/**
 * Keeps this broker's locks alive. KEYS active (names the slot) · ARGV prefix, token, lockMs, ids
 * Returns how many it still has.
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
