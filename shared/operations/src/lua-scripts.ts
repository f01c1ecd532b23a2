// Generated from the .lua files beside it: npm run lua.

/**
 * Adds a record, or writes it again where Redis has lost it. Beyond the bound the oldest are removed, those that ended first.
 * All keys of a group share a hash tag, so that this may also remove records that it finds.
 * KEYS index, record · ARGV id, prefix of records, suffix of logs, life in ms, bound, state, fields …
 * Returns the time.
 */
export const ADD_OPERATION = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local index, record = KEYS[1], KEYS[2]
local id, prefix, suffix, life, most, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
redis.call('HSETNX', record, 'createdAt', now)
redis.call('HSET', record, 'state', state, 'renewedAt', now, unpack(ARGV, 7))
redis.call('PEXPIRE', record, life)
redis.call('ZADD', index, 'NX', now, id)
redis.call('PEXPIRE', index, life)
local over = redis.call('ZCARD', index) - most
if over > 0 then
  local ended, open = {}, {}
  for _, old in ipairs(redis.call('ZRANGE', index, 0, -2)) do
    local was = redis.call('HGET', prefix .. old, 'state')
    local list = (was == 'queued' or was == 'running') and open or ended
    list[#list + 1] = old
  end
  for i = 1, over do
    local old = ended[i] or open[i - #ended]
    if not old then break end
    redis.call('ZREM', index, old)
    redis.call('DEL', prefix .. old, prefix .. old .. suffix)
  end
end
return now
`;

/**
 * Asks to stop an operation.
 * KEYS record · ARGV who
 * Returns 1; 0 where it has ended, or is not there.
 */
export const CANCEL_OPERATION = `
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSETNX', KEYS[1], 'cancelledBy', ARGV[1])
return 1
`;

/**
 * Ends a record.
 * KEYS record · ARGV state, result or '', error or ''
 * Returns 0 where there is none, else 1.
 */
export const END_OPERATION = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'endedAt', now, 'renewedAt', now)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'result', ARGV[2]) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
return 1
`;

/**
 * Renews a record: how far it is, and its new lines.
 * KEYS record, log · ARGV life in ms, most lines, state, done, total or '', lines that were left out before these, lines …
 * Returns nil where there is no record, else who asked to stop it, or ''.
 */
export const RENEW_OPERATION = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
`;
