// Generated from the .lua files beside it: npm run lua.

/** KEYS lease, epoch · ARGV floor, leaseMs, record of a dead holder or '', tail of the record to be. */
export const ACQUIRE_LEASE = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] then return {0, holder} end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[2])
return {tonumber(epoch), ''}
`;

/** KEYS the group's record · ARGV id, record. Returns the record of another directory; else ''. */
export const CLAIM_DATA_DIR = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[2] then
  local ok, record = pcall(cjson.decode, owner)
  if ok and type(record) == 'table' and record.id ~= ARGV[1] then return owner end
end
if owner ~= ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[2])
end
return ''
`;

/** KEYS the id · ARGV a new one. A delete first lets the write through where Redis is full: see queue-scripts.ts. */
export const IDENTIFY_REDIS = `
local id = redis.call('GET', KEYS[1])
if id then return id end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
`;

/** KEYS lease, epoch · ARGV name, floor, leaseMs, tail of the new record, epoch. Only the holder gets a higher epoch. */
export const RAISE_EPOCH = `
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[2])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[3])
return tonumber(epoch)
`;

/** KEYS lease · ARGV name. */
export const RELEASE_LEASE = `
local holder = redis.call('GET', KEYS[1])
if not holder or not string.find(holder, ARGV[1], 1, true) then return 0 end
return redis.call('DEL', KEYS[1])
`;

/** KEYS lease, epoch · ARGV name, record, leaseMs, epoch. Also restores a lease that expired and was not acquired since. */
export const RENEW_LEASE = `
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`;
