import { defineScript } from '../queue/redis-link.ts';

/*
 * The atomic changes of the lease in Redis. A record is a LeaseRecord as JSON, its epoch first. It is the holder's if it has the
 * holder's name, `"broker":"b-…"`, whatever else changed, as after an answer that was lost.
 */

/** KEYS lease, epoch · ARGV floor, leaseMs, record of a dead holder or '', tail of the record to be. */
export const acquireLease = defineScript(
  2,
  `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] then return {0, holder} end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[2])
return {tonumber(epoch), ''}`,
);

/** KEYS lease, epoch · ARGV name, record, leaseMs, epoch. Also restores a lease that expired and was not acquired since. */
export const renewLease = defineScript(
  2,
  `
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`,
);

/** KEYS lease, epoch · ARGV name, floor, leaseMs, tail of the new record, epoch. Only the holder gets a higher epoch. */
export const raiseEpoch = defineScript(
  2,
  `
local holder = redis.call('GET', KEYS[1])
if holder and not string.find(holder, ARGV[1], 1, true) then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
local epoch = string.format('%d', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[2])) + 1)
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',' .. ARGV[4], 'PX', ARGV[3])
return tonumber(epoch)`,
);

/** KEYS lease · ARGV name. */
export const releaseLease = defineScript(
  1,
  `
local holder = redis.call('GET', KEYS[1])
if not holder or not string.find(holder, ARGV[1], 1, true) then return 0 end
return redis.call('DEL', KEYS[1])`,
);
