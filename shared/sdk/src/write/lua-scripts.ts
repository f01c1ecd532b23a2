// Generated from the .lua files beside it: npm run lua.

/**
 * The same for steps of an open transaction: at the tail, where the oldest job is, because everything that waits waits for
 * them. Returns 0: their sender is not held up by the length of the queue.
 */
export const ADD_FOLLOW_UP = `
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then return 0 end
local now = ARGV[5]
local isRead = now == ''
if isRead then
  local time = call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local stamp = now
local found = call('HMGET', KEYS[3], 'onewriter.added', 'onewriter.bytes')
if found[1] and tonumber(found[1]) > tonumber(now) then stamp = found[1] end
local bytes = tonumber(found[2] or '0')
if bytes > 0 and bytes + #ARGV[3] > tonumber(ARGV[6]) and call('LLEN', KEYS[1]) > 0 then
  if isRead then return {-bytes, now} end
  return -bytes
end
call('HINCRBY', KEYS[3], 'onewriter.bytes', #ARGV[3])
call('HSET', KEYS[2], 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4], 'timestamp', stamp, 'delay', '0', 'priority', '0')
call('RPUSH', KEYS[1], ARGV[1])
if isRead then return {0, now} end
return 0
`;

/**
 * Puts a job on a tenant's BullMQ queue. The data structures are BullMQ's (6.7, addStandardJob-9.lua): the job's hash,
 * and its id at the head of `wait`, so its tools and Bull Board see nothing unusual. Left out is what the jobs of a
 * tenant's queue cannot have (parents, delays, priorities, deduplication) and what no process reads: the queue's own events
 * `added` and `waiting`, and the marker that wakes BullMQ's workers; the broker has its own notification. That makes it one
 * third of BullMQ's script in time, and the length of the queue comes with it.
 *
 * A job whose id is there is not added again, so that it can be sent twice.
 *
 * Its `timestamp` is by Redis' clock, the one clock that all clients share, and never before that of a job that the broker has
 * fetched: so the broker recognises a job that an old snapshot of Redis brings back (ADR 0027). A client that has read that
 * clock a moment ago says the time itself, because TIME is the most expensive command here (redis-clock.ts).
 *
 * `onewriter.bytes` of `meta` counts the bytes of the data that waits (ADR 0035). A job that would make them more than the bound
 * is not added; one that finds none waiting is, whatever its size.
 *
 * KEYS wait, job, meta · ARGV id, name, data, opts, time by Redis' clock (ms, '' to have it read), most bytes that may wait
 * Returns how many jobs wait, or where it was not added the bytes that wait, negative; and where it was read, the time.
 */
export const ADD_JOB = `
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then return call('LLEN', KEYS[1]) end
local now = ARGV[5]
local isRead = now == ''
if isRead then
  local time = call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local stamp = now
local found = call('HMGET', KEYS[3], 'onewriter.added', 'onewriter.bytes')
if found[1] and tonumber(found[1]) > tonumber(now) then stamp = found[1] end
local bytes = tonumber(found[2] or '0')
if bytes > 0 and bytes + #ARGV[3] > tonumber(ARGV[6]) and call('LLEN', KEYS[1]) > 0 then
  if isRead then return {-bytes, now} end
  return -bytes
end
call('HINCRBY', KEYS[3], 'onewriter.bytes', #ARGV[3])
call('HSET', KEYS[2], 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4], 'timestamp', stamp, 'delay', '0', 'priority', '0')
local depth = call('LPUSH', KEYS[1], ARGV[1])
if isRead then return {depth, now} end
return depth
`;

/**
 * Removes a job that has not begun from the queue. KEYS wait, job, meta · ARGV id
 * Returns 1 where it was waiting: it will not run.
 */
export const WITHDRAW_JOB = `
if redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[3], 'onewriter.bytes', -redis.call('HSTRLEN', KEYS[2], 'data'))
redis.call('DEL', KEYS[2])
return 1
`;
