-- Moves active jobs to completed or failed, trims those lists to the newest (or a few more), and fetches the next. A finished
-- job's data is dropped: a write that a person may send again is in a dead letter (ADR 0035).
-- A job fails only under this broker's own lock, and if the queue was not reclaimed since: otherwise it may be being committed.
-- A completed job is committed, whichever broker holds the lock.
-- KEYS wait, active, meta, completed, failed · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, keep, time from
-- which to note it, then id, 'completed' or 'failed', and value of each
-- Returns the ids that were not failed, then the result of the fetch (maxJobs 0: an empty list).
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
    --include @onewriter/tenants/holders/reclaimed-since.part.lua
    mayFail = not reclaimedSince(call('HGET', meta, 'onewriter.epoch'), word)
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
  -- Ten more than those to keep are deleted together.
  if excess >= 10 then
    local oldest = call('ZPOPMIN', KEYS[n], excess)
    for i = 1, #oldest, 2 do call('DEL', prefix .. oldest[i], prefix .. oldest[i] .. ':logs') end
  end
end
if maxJobs == 0 then return {refused, {}} end
--include fence.part.lua
if refusal then return {refused, refusal} end
if paused then return {refused, {-1}} end
--include fetch.part.lua
return {refused, fetched}
