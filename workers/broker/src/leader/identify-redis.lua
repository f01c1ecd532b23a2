-- KEYS the id · ARGV a new one. A delete first lets the write through where Redis is full: see queue-scripts.ts.
local id = redis.call('GET', KEYS[1])
if id then return id end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
