-- Adds a hold. Of two that are exclusive the second is refused. A connection that breaks has the client send it again: then the
-- hold itself may be there already.
-- KEYS holds, meta · ARGV id, lifeMs, JSON
-- Returns '', or the JSON of the hold that excludes it.
--include now.part.lua
local hold = cjson.decode(ARGV[3])
if hold.exclusive then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local other = cjson.decode(all[i + 1])
    if all[i] ~= ARGV[1] and other.exclusive and other.expiresAt > now then return all[i + 1] end
  end
end
hold.since = now
hold.expiresAt = now + tonumber(ARGV[2])
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
redis.call('HSET', KEYS[2], 'onewriter.holds', redis.call('HLEN', KEYS[1]))
return ''
