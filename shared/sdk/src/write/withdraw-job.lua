-- Removes a job that has not begun from the queue. KEYS wait, job, meta · ARGV id
-- Returns 1 where it was waiting: it will not run.
if redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[3], 'onewriter.bytes', -redis.call('HSTRLEN', KEYS[2], 'data'))
redis.call('DEL', KEYS[2])
return 1
