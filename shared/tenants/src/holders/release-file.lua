-- Forgets holds that ran out, and says that no broker has the file open, if one is left; then none opens it before the last
-- hold ends. Called by the leader when it has closed the file, by a holder where none leads. What is active now is of a
-- leader that is gone: it waits again, the oldest at the tail, and may be applied. A holder leaves its name: a leader that stood
-- still may have the file open.
-- KEYS wait, active, meta, holds · ARGV prefix, a leader's word with a new turn, or a holder's epoch
-- Returns -2 and the epoch of a newer leader; -3 where the leader has reclaimed the queue since; 1 (held) or 0; jobs that wait or
-- are active; holds that ran out; where it is held: ms until the next runs out.
--include now.part.lua
--include reclaimed-since.part.lua
--include note-doubt.part.lua
local wait, active, meta, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local word = ARGV[2]
local isLeader = string.find(word, '.', 1, true)
local since, newest = reclaimedSince(redis.call('HGET', meta, 'onewriter.epoch'), word)
if since == 'leader' then return {-2, newest, {}} end
-- A holder that finds no leader has no turn: no broker has the file open.
if since == 'turn' and isLeader then return {-3, 0, {}} end
local gone, names = {}, {}
local soonest = math.huge
redis.call('HDEL', meta, '')
local all = redis.call('HGETALL', holds)
for i = 1, #all, 2 do
  local hold = cjson.decode(all[i + 1])
  if hold.expiresAt <= now then
    redis.call('HDEL', holds, all[i])
    gone[#gone + 1] = all[i + 1]
    if hold.pauseIfLost and hold.phase ~= 'preparing' and redis.call('HSETNX', meta, 'paused', 1) == 1 then
      local reason = 'its ' .. hold.name .. ' was cut off while it replaced the file: look which file is in its place ' ..
        '(onewriter tenants check; a .replaced- file beside it is the old one), then resume it or repeat the ' .. hold.name
      redis.call('HSET', meta, 'onewriter.pause', cjson.encode({who = hold.who, reason = reason, since = now}))
    end
  else
    soonest = math.min(soonest, hold.expiresAt)
    names[#names + 1] = hold.name
  end
end
local left = #all / 2 - #gone
if isLeader then redis.call('HDEL', meta, 'onewriter.unled') end
if left == 0 then
  redis.call('HDEL', meta, 'onewriter.holds', 'onewriter.released')
  return {0, redis.call('LLEN', wait) + redis.call('LLEN', active), gone}
end
local bytes = 0
local id = redis.call('LPOP', active)
while id do
  redis.call('DEL', ARGV[1] .. id .. ':lock')
  redis.call('RPUSH', wait, id)
  redis.call('HDEL', ARGV[1] .. id, 'processedOn', 'ats')
  noteDoubt(meta, tonumber(redis.call('HGET', ARGV[1] .. id, 'timestamp') or '1') or 1)
  bytes = bytes + redis.call('HSTRLEN', ARGV[1] .. id, 'data')
  id = redis.call('LPOP', active)
end
-- What waits is counted in bytes: see queue-scripts.ts of the broker.
if bytes > 0 then redis.call('HINCRBY', meta, 'onewriter.bytes', bytes) end
if not isLeader then redis.call('HSET', meta, 'onewriter.unled', table.concat(names, ',')) end
redis.call('HSET', meta, 'onewriter.holds', left, 'onewriter.epoch', word, 'onewriter.released', word)
return {1, redis.call('LLEN', wait), gone, soonest - now}
