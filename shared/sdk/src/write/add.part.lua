-- The job's hash. Times stay strings where they can: to write a number as one costs as much as a command.
local now = ARGV[5]
local isRead = now == ''
if isRead then
  local time = call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local stamp = now
local found = call('HMGET', KEYS[3], 'onewriter.added', 'onewriter.bytes', 'onewriter.sync')
local sync = found[3] or '1'
if found[1] and tonumber(found[1]) > tonumber(now) then stamp = found[1] end
local bytes = tonumber(found[2] or '0')
-- Without a job that waits the count is wrong: another tool removed one.
if bytes > 0 and bytes + #ARGV[3] > tonumber(ARGV[6]) and call('LLEN', KEYS[1]) > 0 then
  if isRead then return {-bytes, now} end
  return -bytes
end
call('HINCRBY', KEYS[3], 'onewriter.bytes', #ARGV[3])
call('HSET', KEYS[2], 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4], 'timestamp', stamp, 'delay', '0', 'priority', '0')
