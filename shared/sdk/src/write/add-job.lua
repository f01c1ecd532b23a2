-- Puts a job on a tenant's BullMQ queue. The data structures are BullMQ's (6.7, addStandardJob-9.lua): the job's hash,
-- and its id at the head of `wait`, so its tools and Bull Board see nothing unusual. Left out is what the jobs of a
-- tenant's queue cannot have (parents, delays, priorities, deduplication) and what no process reads: the queue's own events
-- `added` and `waiting`, and the marker that wakes BullMQ's workers; the broker has its own notification. That makes it one
-- third of BullMQ's script in time, and the length of the queue comes with it.
--
-- A job whose id is there is not added again, so that it can be sent twice.
--
-- Its `timestamp` is by Redis' clock, the one clock that all clients share, and never before that of a job that the broker has
-- fetched: so the broker recognises a job that an old snapshot of Redis brings back (ADR 0027). A client that has read that
-- clock a moment ago says the time itself, because TIME is the most expensive command here (redis-clock.ts).
--
-- `onewriter.bytes` of `meta` counts the bytes of the data that waits (ADR 0035). A job that would make them more than the bound
-- is not added; one that finds none waiting is, whatever its size.
--
-- KEYS wait, job, meta · ARGV id, name, data, opts, time by Redis' clock (ms, '' to have it read), most bytes that may wait
-- Returns how many jobs wait, or where it was not added the bytes that wait, negative; where it was read the time, else ''; and '1'
-- where the tenant's callers wait for the replica, or no broker has said that they do not. Where there is only the first, a number.
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then
  if call('HGET', KEYS[3], 'onewriter.sync') == '0' then return call('LLEN', KEYS[1]) end
  return {call('LLEN', KEYS[1]), '', '1'}
end
--include add.part.lua
local depth = call('LPUSH', KEYS[1], ARGV[1])
if isRead then return {depth, now, sync} end
if sync ~= '0' then return {depth, '', sync} end
return depth
