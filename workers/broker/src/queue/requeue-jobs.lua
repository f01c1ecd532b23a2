-- Requeues this broker's active jobs at the tail of wait, where the oldest is. If one of them may be applied, the next broker
-- that fetches them has to know: a field of `meta` says when the newest such was added, until the ledger could be asked.
-- A repeated call has a newer turn: the first may be executed after it, when the jobs were fetched again.
-- KEYS wait, active, meta · ARGV prefix, token, word with a new turn, doubt (see note-doubt.part.lua; 0: none), ids (newest first)
-- Returns how many.
--include @onewriter/tenants/holders/reclaimed-since.part.lua
--include @onewriter/tenants/holders/note-doubt.part.lua
local returned, bytes = 0, 0
redis.call('HDEL', KEYS[3], '')
local noted = redis.call('HGET', KEYS[3], 'onewriter.epoch')
if reclaimedSince(noted, ARGV[3]) then return returned end
-- If Redis lost its data only a reclaim makes a broker the owner, and only locks say which jobs are its own.
local ours = (readTurn(noted)) == (readTurn(ARGV[3]))
if ours then redis.call('HSET', KEYS[3], 'onewriter.epoch', ARGV[3]) end
if ARGV[4] ~= '0' then noteDoubt(KEYS[3], tonumber(ARGV[4])) end
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
