-- Removes old finished jobs, and notes the newest of them that the ledger must have, for `onewriter check`. A time far ahead
-- comes from another leader's clock: such jobs are removed, too. With the last job, the remains of BullMQ's own producers are
-- removed (events, marker), but not `id`: a number that is issued again would look like a job that the ledger knows.
-- KEYS completed, failed, meta, events, marker · ARGV prefix, oldest kept, newest kept, how many at most
-- Returns 1 where more is left to remove.
local most = tonumber(ARGV[4])
local removed = 0
local newest, at
local function remove(finished, from, to)
  if removed >= most then return end
  local old = redis.call('ZRANGEBYSCORE', finished, from, to, 'WITHSCORES', 'LIMIT', 0, most - removed)
  for i = 1, #old, 2 do
    redis.call('DEL', ARGV[1] .. old[i], ARGV[1] .. old[i] .. ':logs')
    redis.call('ZREM', finished, old[i])
    removed = removed + 1
    if finished == KEYS[1] and string.sub(old[i], 1, 2) == 'w-' and not (at and tonumber(at) > tonumber(old[i + 1])) then
      newest, at = old[i], old[i + 1]
    end
  end
end
for n = 1, 2 do
  remove(KEYS[n], '-inf', '(' .. ARGV[2])
  remove(KEYS[n], '(' .. ARGV[3], '+inf')
end
if newest then redis.call('HSET', KEYS[3], 'onewriter.finished', newest .. ' ' .. at) end
if removed > 0 and redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then redis.call('DEL', KEYS[4], KEYS[5]) end
return removed >= most and 1 or 0
