-- Moves the oldest waiting jobs to active; with `ifIdle` (1 or 0) only if none is active.
-- KEYS wait, active, meta · ARGV prefix, token, lockMs, now, maxJobs, maxBytes, word, time from which to note it, ifIdle
-- Returns jobs left in wait (-1: the queue is paused; -2: it belongs to a newer leader, whose epoch follows; -3: it has to
-- be reclaimed first; -4: the tenant is held; -5: the oldest is larger than maxBytes, its size and the jobs in wait follow),
-- then id, data and time of adding of each.
local call = redis.call
local wait, active, meta, prefix, token, lockMs, now = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local maxJobs, maxBytes, word, noteFrom = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
--include fence.part.lua
if refusal then return refusal end
if paused then return {-1} end
if ARGV[9] == '1' and call('EXISTS', active) == 1 then return {call('LLEN', wait)} end
--include fetch.part.lua
return fetched
