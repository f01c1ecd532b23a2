-- Renews a record: how far it is, and its new lines.
-- KEYS record, log · ARGV life in ms, most lines, state, done, total or '', lines that were left out before these, lines …
-- Returns nil where there is no record, else who asked to stop it, or ''.
--include now.part.lua
local record, log = KEYS[1], KEYS[2]
if redis.call('EXISTS', record) == 0 then return false end
redis.call('HSET', record, 'state', ARGV[3], 'renewedAt', now, 'done', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', record, 'total', ARGV[5]) end
if ARGV[3] == 'running' then redis.call('HSETNX', record, 'startedAt', now) end
for i = 7, #ARGV do redis.call('RPUSH', log, ARGV[i]) end
if #ARGV >= 7 then
  redis.call('HINCRBY', record, 'logged', ARGV[6] + #ARGV - 6)
  redis.call('LTRIM', log, -ARGV[2], -1)
end
redis.call('PEXPIRE', record, ARGV[1])
redis.call('PEXPIRE', log, ARGV[1])
return redis.call('HGET', record, 'cancelledBy') or ''
