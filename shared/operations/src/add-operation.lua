-- Adds a record, or writes it again where Redis has lost it. Beyond the bound the oldest are removed, those that ended first.
-- All keys of a group share a hash tag, so that this may also remove records that it finds.
-- KEYS index, record · ARGV id, prefix of records, suffix of logs, life in ms, bound, state, fields …
-- Returns the time.
--include now.part.lua
local index, record = KEYS[1], KEYS[2]
local id, prefix, suffix, life, most, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
redis.call('HSETNX', record, 'createdAt', now)
redis.call('HSET', record, 'state', state, 'renewedAt', now, unpack(ARGV, 7))
redis.call('PEXPIRE', record, life)
redis.call('ZADD', index, 'NX', now, id)
redis.call('PEXPIRE', index, life)
local over = redis.call('ZCARD', index) - most
if over > 0 then
  local ended, open = {}, {}
  for _, old in ipairs(redis.call('ZRANGE', index, 0, -2)) do
    local was = redis.call('HGET', prefix .. old, 'state')
    local list = (was == 'queued' or was == 'running') and open or ended
    list[#list + 1] = old
  end
  for i = 1, over do
    local old = ended[i] or open[i - #ended]
    if not old then break end
    redis.call('ZREM', index, old)
    redis.call('DEL', prefix .. old, prefix .. old .. suffix)
  end
end
return now
