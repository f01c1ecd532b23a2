import { defineScript } from './redis-link.ts';

/* What happens to the lease in Redis, each at one stroke. A record is a LeaseRecord as JSON, its epoch first. */

/** KEYS lease, epoch · ARGV floor, leaseMs, record of a dead holder or '', tail of the record to be. */
export const acquireLease = defineScript(
  2,
  `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] then return {0, holder} end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])) + 1)
local record = '{"epoch":' .. epoch .. ',' .. ARGV[4]
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], record, 'PX', ARGV[2])
return {tonumber(epoch), record}`,
);

/** KEYS lease, epoch · ARGV record, leaseMs, epoch. Also takes back a lease that ran out and nobody took. */
export const renewLease = defineScript(
  2,
  `
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if holder or redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`,
);

/** KEYS lease, epoch · ARGV record, floor, leaseMs, tail of the new record. Only the holder gets a higher epoch. */
export const raiseEpoch = defineScript(
  2,
  `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, ''} end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[2])) + 1)
local record = '{"epoch":' .. epoch .. ',' .. ARGV[4]
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
return {tonumber(epoch), record}`,
);

/** KEYS lease · ARGV record. */
export const releaseLease = defineScript(
  1,
  `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`,
);
