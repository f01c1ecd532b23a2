-- KEYS the letter · ARGV field, a new job id. Returns the job id to use; false where there is no such letter.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
