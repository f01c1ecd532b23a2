-- KEYS lease, epoch · ARGV name, record, leaseMs, epoch. Also restores a lease that expired and was not acquired since.
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
