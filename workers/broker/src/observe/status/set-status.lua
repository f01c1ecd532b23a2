-- KEYS status · ARGV json, ttlMs.
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
