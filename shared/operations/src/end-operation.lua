-- Ends a record.
-- KEYS record · ARGV state, result or '', error or ''
-- Returns 0 where there is none, else 1.
--include now.part.lua
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'endedAt', now, 'renewedAt', now)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'result', ARGV[2]) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
return 1
