-- Ends a hold, no other.
-- KEYS holds, meta · ARGV id
-- Returns how many are left.
redis.call('HDEL', KEYS[1], ARGV[1])
local left = redis.call('HLEN', KEYS[1])
if left == 0 then redis.call('HDEL', KEYS[2], 'onewriter.holds', 'onewriter.released')
else redis.call('HSET', KEYS[2], 'onewriter.holds', left) end
return left
