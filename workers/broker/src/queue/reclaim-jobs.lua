-- Makes this broker the owner of all active jobs, oldest first: a dead leader's, or those of a fetch whose answer was lost. Their
-- data stays in Redis until there is room for it.
-- KEYS active, meta · ARGV prefix, token, lockMs, word with a new turn
-- Returns as fetch-jobs.lua, with the data's size in its place (-3: it is older than the last reclaim); waiting jobs are not
-- counted: in its place is when the newest of the requeued jobs that may be applied was added (1: unknown, 0: none may).
--include @onewriter/tenants/holders/reclaimed-since.part.lua
redis.call('HDEL', KEYS[2], '')
local noted, holds, unled = unpack(redis.call('HMGET', KEYS[2], 'onewriter.epoch', 'onewriter.holds', 'onewriter.unled'))
local since, newest = reclaimedSince(noted, ARGV[4])
if since == 'leader' then return {-2, newest} end
if since == 'turn' then return {-3} end
-- Or it was, while no broker had the lease: this one may have its file open.
if holds or unled then return {-4} end
redis.call('HSET', KEYS[2], 'onewriter.epoch', ARGV[4])
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local jobs = {tonumber(redis.call('HGET', KEYS[2], 'onewriter.doubt') or '0')}
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
return jobs
