-- KEYS lease, epoch · ARGV name, floor, leaseMs, tail of the new record, epoch. Only the holder gets a higher epoch.
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[2])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[3])
return tonumber(epoch)
