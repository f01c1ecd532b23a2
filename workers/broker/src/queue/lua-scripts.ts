// Generated from the .lua files beside it: npm run lua.

/**
 * Moves to active the jobs that continue an open transaction, all of them and no others; a pause of the queue does not stop
 * them.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, word, maxBytes, how many of the tail are searched
 * Returns as fetch-jobs.lua; the jobs in wait are other jobs, 0 where the queue is paused, and -5 gives the size of all.
 */
export const FETCH_FOLLOW_UPS = `
local call = redis.call
local wait, active, meta, prefix, word = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[5]
local found = call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.bytes')
local paused, waitingBytes = found[2], found[4]
local refusal
if found[1] ~= word or found[3] then
  local function readTurn(word)
    local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
    return tonumber(epoch) or 0, tonumber(turn) or 0
  end
  local function reclaimedSince(noted, word)
    local newest, last = readTurn(noted)
    local epoch, turn = readTurn(word)
    if newest > epoch then return 'leader', newest end
    if newest == epoch and last > turn then return 'turn' end
  end
  local since, newest = reclaimedSince(found[1], word)
  if since == 'leader' then refusal = {-2, newest}
  elseif found[3] then refusal = {-4}
  else refusal = {-3} end
end
if refusal then return refusal end
call('HDEL', meta, '')
local found, bytes = {}, 0
for _, id in ipairs(call('LRANGE', wait, -ARGV[7], -1)) do
  if string.sub(id, 1, 2) == 's-' then
    found[#found + 1] = id
    bytes = bytes + call('HSTRLEN', prefix .. id, 'data')
  end
end
if bytes > tonumber(ARGV[6]) then return {-5, bytes, call('LLEN', wait)} end
local fetched = {0}
for _, id in ipairs(found) do
  local key = prefix .. id
  local job = call('HMGET', key, 'data', 'timestamp')
  call('LREM', wait, -1, id)
  if job[1] then
    call('LPUSH', active, id)
    call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    call('HSET', key, 'processedOn', ARGV[4], 'ats', '1')
    fetched[#fetched + 1] = id
    fetched[#fetched + 1] = job[1]
    fetched[#fetched + 1] = job[2] or ''
  end
end
if bytes > 0 and waitingBytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes) end
if not paused then fetched[1] = call('LLEN', wait) end
return fetched
`;

/**
 * Moves the oldest waiting jobs to active; with `ifIdle` (1 or 0) only if none is active.
 * KEYS wait, active, meta · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, time from which to note it, ifIdle
 * Returns jobs left in wait (-1: the queue is paused; -2: it belongs to a newer leader, whose epoch follows; -3: it has to
 * be reclaimed first; -4: the tenant is held; -5: the oldest is larger than maxBytes, its size and the jobs in wait follow),
 * then id, data and time of adding of each.
 */
export const FETCH_JOBS = `
local call = redis.call
local wait, active, meta, prefix, token, lockMs, now = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local maxJobs, maxBytes, word, noteFrom = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local found = call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.bytes')
local paused, waitingBytes = found[2], found[4]
local refusal
if found[1] ~= word or found[3] then
  local function readTurn(word)
    local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
    return tonumber(epoch) or 0, tonumber(turn) or 0
  end
  local function reclaimedSince(noted, word)
    local newest, last = readTurn(noted)
    local epoch, turn = readTurn(word)
    if newest > epoch then return 'leader', newest end
    if newest == epoch and last > turn then return 'turn' end
  end
  local since, newest = reclaimedSince(found[1], word)
  if since == 'leader' then refusal = {-2, newest}
  elseif found[3] then refusal = {-4}
  else refusal = {-3} end
end
if refusal then return refusal end
if paused then return {-1} end
if ARGV[9] == '1' and call('EXISTS', active) == 1 then return {call('LLEN', wait)} end
local waiting = call('LLEN', wait)
local fetched = {waiting}
if waiting > 0 then
  local bytes = 0
  local newest, tooLarge
  local mayExceed = not waitingBytes or tonumber(waitingBytes) > maxBytes
  for n = 1, math.min(maxJobs, waiting) do
    local id, job, size
    if n > 1 or mayExceed then
      id = call('LINDEX', wait, -1)
      if mayExceed then size = call('HSTRLEN', prefix .. id, 'data')
      else
        job = call('HMGET', prefix .. id, 'data', 'timestamp')
        size = #(job[1] or '')
      end
      if bytes + size > maxBytes then
        if #fetched == 1 then tooLarge = size end
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
      fetched[#fetched + 1] = id
      fetched[#fetched + 1] = job[1]
      fetched[#fetched + 1] = newest or ''
    else
      call('LREM', active, 1, id)
    end
  end
  if tooLarge then fetched = {-5, tooLarge, waiting} else fetched[1] = waiting end
  if waitingBytes and not tooLarge then
    if waiting > 0 and tonumber(waitingBytes) > bytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes)
    else call('HDEL', meta, 'onewriter.bytes') end
  end
  local added = tonumber(newest or '')
  if added and added >= noteFrom and added > tonumber(call('HGET', meta, 'onewriter.added') or '0') then
    call('HSET', meta, 'onewriter.added', newest)
  end
end
return fetched
`;

/**
 * Moves active jobs to completed or failed, trims those lists to the newest (or a few more), and fetches the next. A finished
 * job's data is dropped: a write that a person may send again is in a dead letter (ADR 0035).
 * A job fails only under this broker's own lock, and if the queue was not reclaimed since: otherwise it may be being committed.
 * A completed job is committed, whichever broker holds the lock.
 * KEYS wait, active, meta, completed, failed · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, keep, time from
 * which to note it, then id, 'completed' or 'failed', and value of each
 * Returns the ids that were not failed, then the result of the fetch (maxJobs 0: an empty list).
 */
export const FINISH_JOBS = `
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
    local function readTurn(word)
      local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
      return tonumber(epoch) or 0, tonumber(turn) or 0
    end
    local function reclaimedSince(noted, word)
      local newest, last = readTurn(noted)
      local epoch, turn = readTurn(word)
      if newest > epoch then return 'leader', newest end
      if newest == epoch and last > turn then return 'turn' end
    end
    mayFail = not reclaimedSince(call('HGET', meta, 'onewriter.epoch'), word)
  end
  if fails and not (mayFail and call('GET', lock) == token) then
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
  if excess >= 10 then
    local oldest = call('ZPOPMIN', KEYS[n], excess)
    for i = 1, #oldest, 2 do call('DEL', prefix .. oldest[i], prefix .. oldest[i] .. ':logs') end
  end
end
if maxJobs == 0 then return {refused, {}} end
local found = call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.bytes')
local paused, waitingBytes = found[2], found[4]
local refusal
if found[1] ~= word or found[3] then
  local function readTurn(word)
    local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
    return tonumber(epoch) or 0, tonumber(turn) or 0
  end
  local function reclaimedSince(noted, word)
    local newest, last = readTurn(noted)
    local epoch, turn = readTurn(word)
    if newest > epoch then return 'leader', newest end
    if newest == epoch and last > turn then return 'turn' end
  end
  local since, newest = reclaimedSince(found[1], word)
  if since == 'leader' then refusal = {-2, newest}
  elseif found[3] then refusal = {-4}
  else refusal = {-3} end
end
if refusal then return {refused, refusal} end
if paused then return {refused, {-1}} end
local waiting = call('LLEN', wait)
local fetched = {waiting}
if waiting > 0 then
  local bytes = 0
  local newest, tooLarge
  local mayExceed = not waitingBytes or tonumber(waitingBytes) > maxBytes
  for n = 1, math.min(maxJobs, waiting) do
    local id, job, size
    if n > 1 or mayExceed then
      id = call('LINDEX', wait, -1)
      if mayExceed then size = call('HSTRLEN', prefix .. id, 'data')
      else
        job = call('HMGET', prefix .. id, 'data', 'timestamp')
        size = #(job[1] or '')
      end
      if bytes + size > maxBytes then
        if #fetched == 1 then tooLarge = size end
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
      fetched[#fetched + 1] = id
      fetched[#fetched + 1] = job[1]
      fetched[#fetched + 1] = newest or ''
    else
      call('LREM', active, 1, id)
    end
  end
  if tooLarge then fetched = {-5, tooLarge, waiting} else fetched[1] = waiting end
  if waitingBytes and not tooLarge then
    if waiting > 0 and tonumber(waitingBytes) > bytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes)
    else call('HDEL', meta, 'onewriter.bytes') end
  end
  local added = tonumber(newest or '')
  if added and added >= noteFrom and added > tonumber(call('HGET', meta, 'onewriter.added') or '0') then
    call('HSET', meta, 'onewriter.added', newest)
  end
end
return {refused, fetched}
`;

/** The ledger could be asked about all requeued jobs. KEYS meta · ARGV word */
export const FORGET_DOUBT = `
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function reclaimedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
if reclaimedSince(redis.call('HGET', KEYS[1], 'onewriter.epoch'), ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'onewriter.doubt')
`;

/**
 * Makes this broker the owner of all active jobs, oldest first: a dead leader's, or those of a fetch whose answer was lost. Their
 * data stays in Redis until there is room for it.
 * KEYS active, meta · ARGV prefix, token, lockMs, word with a new turn
 * Returns as fetch-jobs.lua, with the data's size in its place (-3: it is older than the last reclaim); waiting jobs are not
 * counted: 1 says that some of the requeued jobs may be applied.
 */
export const RECLAIM_JOBS = `
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function reclaimedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
redis.call('HDEL', KEYS[2], '')
local noted, holds = unpack(redis.call('HMGET', KEYS[2], 'onewriter.epoch', 'onewriter.holds'))
local since, newest = reclaimedSince(noted, ARGV[4])
if since == 'leader' then return {-2, newest} end
if since == 'turn' then return {-3} end
if holds then return {-4} end
redis.call('HSET', KEYS[2], 'onewriter.epoch', ARGV[4])
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local jobs = {redis.call('HEXISTS', KEYS[2], 'onewriter.doubt')}
for i = #ids, 1, -1 do
  local key = ARGV[1] .. ids[i]
  if redis.call('HEXISTS', key, 'data') == 1 then
    redis.call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    jobs[#jobs + 1] = ids[i]
    jobs[#jobs + 1] = redis.call('HSTRLEN', key, 'data')
    jobs[#jobs + 1] = redis.call('HGET', key, 'timestamp') or ''
  else
    redis.call('LREM', KEYS[1], 1, ids[i])
  end
end
return jobs
`;

/**
 * Removes old finished jobs, and notes the newest of them that the ledger must have, for `onewriter check`. A time far ahead
 * comes from another leader's clock: such jobs are removed, too. With the last job, the remains of BullMQ's own producers are
 * removed (events, marker), but not `id`: a number that is issued again would look like a job that the ledger knows.
 * KEYS completed, failed, meta, events, marker · ARGV prefix, oldest kept, newest kept, how many at most
 * Returns 1 where more is left to remove.
 */
export const REMOVE_FINISHED = `
local most = tonumber(ARGV[4])
local removed = 0
local newest, at
local function remove(finished, from, to)
  if removed >= most then return end
  local old = redis.call('ZRANGEBYSCORE', finished, from, to, 'WITHSCORES', 'LIMIT', 0, most - removed)
  for i = 1, #old, 2 do
    redis.call('DEL', ARGV[1] .. old[i], ARGV[1] .. old[i] .. ':logs')
    redis.call('ZREM', finished, old[i])
    removed = removed + 1
    if finished == KEYS[1] and string.sub(old[i], 1, 2) == 'w-' and not (at and tonumber(at) > tonumber(old[i + 1])) then
      newest, at = old[i], old[i + 1]
    end
  end
end
for n = 1, 2 do
  remove(KEYS[n], '-inf', '(' .. ARGV[2])
  remove(KEYS[n], '(' .. ARGV[3], '+inf')
end
if newest then redis.call('HSET', KEYS[3], 'onewriter.finished', newest .. ' ' .. at) end
if removed > 0 and redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then redis.call('DEL', KEYS[4], KEYS[5]) end
return removed >= most and 1 or 0
`;

/**
 * Keeps this broker's locks alive. KEYS active (names the slot) · ARGV prefix, token, lockMs, ids
 * Returns how many it still has.
 */
export const RENEW_LOCKS = `
local renewed = 0
for i = 4, #ARGV do
  local lock = ARGV[1] .. ARGV[i] .. ':lock'
  if redis.call('GET', lock) == ARGV[2] then renewed = renewed + redis.call('PEXPIRE', lock, ARGV[3]) end
end
return renewed
`;

/**
 * Requeues this broker's active jobs at the tail of wait, where the oldest is. If one of them may be applied, the next broker
 * that fetches them has to know: a field of `meta` says so until the ledger could be asked.
 * A repeated call has a newer turn: the first may be executed after it, when the jobs were fetched again.
 * KEYS wait, active, meta · ARGV prefix, token, word with a new turn, doubt (1 or 0), ids (newest first)
 * Returns how many.
 */
export const REQUEUE_JOBS = `
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function reclaimedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
local returned, bytes = 0, 0
redis.call('HDEL', KEYS[3], '')
local noted = redis.call('HGET', KEYS[3], 'onewriter.epoch')
if reclaimedSince(noted, ARGV[3]) then return returned end
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
return returned
`;
