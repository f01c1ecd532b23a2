-- Moves to active the jobs that continue an open transaction, all of them and no others; a pause of the queue does not stop
-- them.
-- KEYS wait, active, meta · ARGV prefix, token, lockMs, now, word, maxBytes, how many of the tail are searched
-- Returns as fetch-jobs.lua; the jobs in wait are other jobs, 0 where the queue is paused, and -5 gives the size of all.
local call = redis.call
local wait, active, meta, prefix, word = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[5]
--include fence.part.lua
if refusal then return refusal end
call('HDEL', meta, '')
local found, bytes = {}, 0
for _, id in ipairs(call('LRANGE', wait, -ARGV[7], -1)) do
  if string.sub(id, 1, 2) == 's-' then
    found[#found + 1] = id
    bytes = bytes + call('HSTRLEN', prefix .. id, 'data')
  end
end
if bytes > tonumber(ARGV[6]) then return {-5, bytes, call('LLEN', wait)} end
local fetched = {0}
for _, id in ipairs(found) do
  local key = prefix .. id
  local job = call('HMGET', key, 'data', 'timestamp')
  call('LREM', wait, -1, id)
  if job[1] then
    call('LPUSH', active, id)
    call('SET', key .. ':lock', ARGV[2], 'PX', ARGV[3])
    call('HSET', key, 'processedOn', ARGV[4], 'ats', '1')
    fetched[#fetched + 1] = id
    fetched[#fetched + 1] = job[1]
    fetched[#fetched + 1] = job[2] or ''
  end
end
if bytes > 0 and waitingBytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes) end
if not paused then fetched[1] = call('LLEN', wait) end
return fetched
