// Generated from the .lua files beside it: npm run lua.

/**
 * Adds a hold. Of two that are exclusive the second is refused. A connection that breaks has the client send it again: then the
 * hold itself may be there already.
 * KEYS holds, meta · ARGV id, lifeMs, JSON
 * Returns '', or the JSON of the hold that excludes it.
 */
export const ADD_HOLD = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local hold = cjson.decode(ARGV[3])
if hold.exclusive then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local other = cjson.decode(all[i + 1])
    if all[i] ~= ARGV[1] and other.exclusive and other.expiresAt > now then return all[i + 1] end
  end
end
hold.since = now
hold.expiresAt = now + tonumber(ARGV[2])
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
redis.call('HSET', KEYS[2], 'onewriter.holds', redis.call('HLEN', KEYS[1]))
return ''
`;

/**
 * Forgets holds that ran out, and says that no broker has the file open, if one is left; then none opens it before the last
 * hold ends. Called by the leader when it has closed the file, by a holder where none leads. What is active now is of a
 * leader that is gone: it waits again, the oldest at the tail, and may be applied.
 * KEYS wait, active, meta, holds · ARGV prefix, a leader's word with a new turn, or a holder's epoch
 * Returns -2 and the epoch of a newer leader; -3 where the leader has reclaimed the queue since; 1 (held) or 0; jobs that wait or
 * are active; holds that ran out; where it is held: ms until the next runs out.
 */
export const RELEASE_FILE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function reclaimedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
local wait, active, meta, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local word = ARGV[2]
local since, newest = reclaimedSince(redis.call('HGET', meta, 'onewriter.epoch'), word)
if since == 'leader' then return {-2, newest, {}} end
if since == 'turn' and string.find(word, '.', 1, true) then return {-3, 0, {}} end
local gone = {}
local soonest = math.huge
redis.call('HDEL', meta, '')
local all = redis.call('HGETALL', holds)
for i = 1, #all, 2 do
  local hold = cjson.decode(all[i + 1])
  if hold.expiresAt <= now then
    redis.call('HDEL', holds, all[i])
    gone[#gone + 1] = all[i + 1]
    if hold.pauseIfLost and hold.phase ~= 'preparing' and redis.call('HSETNX', meta, 'paused', 1) == 1 then
      local reason = 'its ' .. hold.name .. ' was cut off while it replaced the file: look which file is in its place ' ..
        '(onewriter tenants check; a .replaced- file beside it is the old one), then resume it or repeat the ' .. hold.name
      redis.call('HSET', meta, 'onewriter.pause', cjson.encode({who = hold.who, reason = reason, since = now}))
    end
  else
    soonest = math.min(soonest, hold.expiresAt)
  end
end
local left = #all / 2 - #gone
if left == 0 then
  redis.call('HDEL', meta, 'onewriter.holds', 'onewriter.released')
  return {0, redis.call('LLEN', wait) + redis.call('LLEN', active), gone}
end
local bytes = 0
local id = redis.call('LPOP', active)
while id do
  redis.call('DEL', ARGV[1] .. id .. ':lock')
  redis.call('RPUSH', wait, id)
  redis.call('HDEL', ARGV[1] .. id, 'processedOn', 'ats')
  redis.call('HSET', meta, 'onewriter.doubt', 1)
  bytes = bytes + redis.call('HSTRLEN', ARGV[1] .. id, 'data')
  id = redis.call('LPOP', active)
end
if bytes > 0 then redis.call('HINCRBY', meta, 'onewriter.bytes', bytes) end
redis.call('HSET', meta, 'onewriter.holds', left, 'onewriter.epoch', word, 'onewriter.released', word)
return {1, redis.call('LLEN', wait), gone, soonest - now}
`;

/**
 * Ends a hold, no other.
 * KEYS holds, meta · ARGV id
 * Returns how many are left.
 */
export const REMOVE_HOLD = `
redis.call('HDEL', KEYS[1], ARGV[1])
local left = redis.call('HLEN', KEYS[1])
if left == 0 then redis.call('HDEL', KEYS[2], 'onewriter.holds', 'onewriter.released')
else redis.call('HSET', KEYS[2], 'onewriter.holds', left) end
return left
`;

/**
 * Makes a hold last longer, and notes its phase at the same stroke. One that ran out is not renewed, nor one whose count was
 * removed: jobs may have been fetched.
 * KEYS holds, meta · ARGV id, lifeMs, the new phase or '' for the one that it has
 * Returns 1, or 0 where it is lost.
 */
export const RENEW_HOLD = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HEXISTS', KEYS[2], 'onewriter.holds') == 0 then return 0 end
local json = redis.call('HGET', KEYS[1], ARGV[1])
if not json then return 0 end
local hold = cjson.decode(json)
if hold.expiresAt <= now then return 0 end
hold.expiresAt = now + tonumber(ARGV[2])
if ARGV[3] ~= '' then hold.phase = ARGV[3] end
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
`;
