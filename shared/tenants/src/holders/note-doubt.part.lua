-- Notes in the queue's `meta` that jobs added up to `time` (ms by Redis' clock) may be applied; 1: whenever they were added.
local function noteDoubt(meta, time)
  local noted = tonumber(redis.call('HGET', meta, 'onewriter.doubt') or '0')
  if time == 1 or noted ~= 1 and time > noted then
    redis.call('HSET', meta, 'onewriter.doubt', string.format('%.0f', time))
  end
end
