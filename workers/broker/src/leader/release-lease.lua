-- KEYS lease · ARGV name.
local holder = redis.call('GET', KEYS[1])
if not holder or not string.find(holder, ARGV[1], 1, true) then return 0 end
return redis.call('DEL', KEYS[1])
