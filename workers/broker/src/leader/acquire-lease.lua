-- KEYS lease, epoch · ARGV floor, leaseMs, record of a dead holder or '', tail of the record to be.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] then return {0, holder} end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[2])
return {tonumber(epoch), ''}
