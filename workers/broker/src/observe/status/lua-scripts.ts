// Generated from the .lua files beside it: npm run lua.

/**
 * KEYS brokers · ARGV broker, tail of its record, ttlMs of the hash. The time is Redis', so that the clocks of hosts need
 * not agree; records of processes that died are removed after ten times their life.
 */
export const NOTE_BROKER = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, broker in ipairs(redis.call('HKEYS', KEYS[1])) do
  local at = tonumber(string.match(redis.call('HGET', KEYS[1], broker), '^{"at":(%d+)') or '0')
  if now - at > 10 * ARGV[3] then redis.call('HDEL', KEYS[1], broker) end
end
redis.call('HSET', KEYS[1], ARGV[1], '{"at":' .. string.format('%d', now) .. ',' .. ARGV[2])
return redis.call('PEXPIRE', KEYS[1], 10 * ARGV[3])
`;

/** KEYS status · ARGV json, ttlMs. */
export const SET_STATUS = `
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
`;
