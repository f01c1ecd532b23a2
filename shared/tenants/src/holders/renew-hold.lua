-- Makes a hold last longer, and notes its phase at the same stroke. One that ran out is not renewed, nor one whose count was
-- removed: jobs may have been fetched.
-- KEYS holds, meta · ARGV id, lifeMs, the new phase or '' for the one that it has
-- Returns 1, or 0 where it is lost.
--include now.part.lua
if redis.call('HEXISTS', KEYS[2], 'onewriter.holds') == 0 then return 0 end
local json = redis.call('HGET', KEYS[1], ARGV[1])
if not json then return 0 end
local hold = cjson.decode(json)
if hold.expiresAt <= now then return 0 end
hold.expiresAt = now + tonumber(ARGV[2])
if ARGV[3] ~= '' then hold.phase = ARGV[3] end
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
