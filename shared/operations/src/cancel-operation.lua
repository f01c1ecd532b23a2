-- Asks to stop an operation.
-- KEYS record · ARGV who
-- Returns 1; 0 where it has ended, or is not there.
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSETNX', KEYS[1], 'cancelledBy', ARGV[1])
return 1
