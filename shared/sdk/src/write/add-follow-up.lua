-- The same for steps of an open transaction: at the tail, where the oldest job is, because everything that waits waits for
-- them. Returns 0: their sender is not held up by the length of the queue.
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then
  if call('HGET', KEYS[3], 'onewriter.sync') == '0' then return 0 end
  return {0, '', '1'}
end
--include add.part.lua
call('RPUSH', KEYS[1], ARGV[1])
if isRead then return {0, now, sync} end
if sync ~= '0' then return {0, '', sync} end
return 0
