-- Fetches up to maxJobs into `fetched`. Each command that a script calls costs about half a microsecond, twice that if it
-- writes, and each function that it defines about 0.2: so it uses as few as possible. The first write is a delete (queue-scripts.ts).
-- Data that a script reads is copied twice, 10 to 25 ms for 8 MB, in which Redis answers no other client. So if not all
-- waiting jobs fit, sizes are read first, and data only of the fetched jobs.
local waiting = call('LLEN', wait)
local fetched = {waiting}
if waiting > 0 then
  local bytes = 0
  local newest, tooLarge
  local mayExceed = not waitingBytes or tonumber(waitingBytes) > maxBytes
  for n = 1, math.min(maxJobs, waiting) do
    local id, job, size
    if n > 1 or mayExceed then
      -- Its size has to be known first.
      id = call('LINDEX', wait, -1)
      if mayExceed then size = call('HSTRLEN', prefix .. id, 'data')
      else
        job = call('HMGET', prefix .. id, 'data', 'timestamp')
        size = #(job[1] or '')
      end
      if bytes + size > maxBytes then
        if #fetched == 1 then tooLarge = size end
        break
      end
      if n > 1 then call('RPOPLPUSH', wait, active)
      else
        call('RPOP', wait)
        call('LPUSH', active, id)
      end
      job = job or call('HMGET', prefix .. id, 'data', 'timestamp')
    else
      id = call('RPOP', wait)
      call('LPUSH', active, id)
      job = call('HMGET', prefix .. id, 'data', 'timestamp')
      if job[1] and #job[1] > maxBytes then
        call('LPOP', active)
        call('RPUSH', wait, id)
        tooLarge = #job[1]
        break
      end
    end
    waiting = waiting - 1
    if job[1] then
      local key = prefix .. id
      bytes = bytes + #job[1]
      newest = job[2]
      call('SET', key .. ':lock', token, 'PX', lockMs)
      call('HSET', key, 'processedOn', now, 'ats', '1')
      fetched[#fetched + 1] = id
      fetched[#fetched + 1] = job[1]
      fetched[#fetched + 1] = newest or ''
    else
      call('LREM', active, 1, id)
    end
  end
  if tooLarge then fetched = {-5, tooLarge, waiting} else fetched[1] = waiting end
  -- Without waiting jobs the field is removed, which corrects any wrong count.
  if waitingBytes and not tooLarge then
    if waiting > 0 and tonumber(waitingBytes) > bytes then call('HINCRBY', meta, 'onewriter.bytes', -bytes)
    else call('HDEL', meta, 'onewriter.bytes') end
  end
  -- Redis' clock may step back: jobs added later must not seem older than these (add.part.lua).
  local added = tonumber(newest or '')
  if added and added >= noteFrom and added > tonumber(call('HGET', meta, 'onewriter.added') or '0') then
    call('HSET', meta, 'onewriter.added', newest)
  end
end
