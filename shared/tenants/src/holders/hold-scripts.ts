/*
 * A tenant's holds: who keeps it still, so that no job is fetched and no broker opens its file. They are in the slot of the
 * tenant's queue:
 *
 *   <queue>:holds   hash, hold id to JSON: name, who, reason, exclusive, pauseIfLost, phase, since, expiresAt (ms of Redis'
 *                   clock)
 *   <queue>:meta    onewriter.holds      how many there are; no field where there is none
 *                   onewriter.released   the epoch under which the file was closed; goes with the last hold
 *                   onewriter.pause      JSON: who paused it, why, since when
 *                   paused               BullMQ's own flag. A hold neither sets nor clears it, and is not ended with it
 *
 *                   onewriter.epoch      the queue's owner: the epoch of a leader, a point, the turn of its last reclaim; a
 *                                        holder where none leads writes the epoch alone, and no leader fetches with that
 *
 * Scripts that fetch jobs read the count with the fence (queue-scripts.ts of the broker): a hold costs nothing where there
 * is none. One that ran out counts as absent, because its process died or was stopped; the leader forgets it when it looks
 * (RELEASE_FILE) and writes that down. Where such a hold asked for it (pauseIfLost) the tenant is paused then, because its
 * process may have been in the middle of changing files; not where it had not begun to:
 *
 *   preparing ──the last look before files change (RENEW_HOLD)──▶ changing
 *
 * A hold of an older version has no phase, and counts as changing.
 *
 * The first write of each script is a delete, which Redis allows at its memory limit.
 */

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/**
 * Lua: whether a leader has reclaimed a queue since a command was sent: its own leader or a newer one. `word` is '<epoch>.<turn>', and
 * the turn is 0 where it is missing. Returns 'leader' (and the newer epoch), 'turn', or nil.
 */
export const ADOPTED_SINCE = `
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function adoptedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
`;

/**
 * Adds a hold. Of two that are exclusive the second is refused. A connection that breaks has the client send it again: then the
 * hold itself may be there already.
 * KEYS holds, meta · ARGV id, lifeMs, JSON
 * Returns '', or the JSON of the hold that excludes it.
 */
export const ADD_HOLD = `${NOW}
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
return ''`;

/**
 * Makes a hold last longer, and notes its phase at the same stroke. One that ran out is not renewed, nor one whose count was
 * removed: jobs may have been fetched.
 * KEYS holds, meta · ARGV id, lifeMs, the new phase or '' for the one that it has
 * Returns 1, or 0 where it is lost.
 */
export const RENEW_HOLD = `${NOW}
if redis.call('HEXISTS', KEYS[2], 'onewriter.holds') == 0 then return 0 end
local json = redis.call('HGET', KEYS[1], ARGV[1])
if not json then return 0 end
local hold = cjson.decode(json)
if hold.expiresAt <= now then return 0 end
hold.expiresAt = now + tonumber(ARGV[2])
if ARGV[3] ~= '' then hold.phase = ARGV[3] end
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1`;

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
return left`;

/**
 * Forgets holds that ran out, and says that no broker has the file open, if one is left; then none opens it before the last
 * hold ends. Called by the leader when it has closed the file, by a holder where none leads. What is active now is of a
 * leader that is gone: it waits again, the oldest at the tail, and may be applied.
 * KEYS wait, active, meta, holds · ARGV prefix, a leader's word with a new turn, or a holder's epoch
 * Returns -2 and the epoch of a newer leader; -3 where the leader has reclaimed the queue since; 1 (held) or 0; jobs that wait or
 * are active; holds that ran out; where it is held: ms until the next runs out.
 */
export const RELEASE_FILE = `${NOW}${ADOPTED_SINCE}
local wait, active, meta, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local word = ARGV[2]
local since, newest = adoptedSince(redis.call('HGET', meta, 'onewriter.epoch'), word)
if since == 'leader' then return {-2, newest, {}} end
-- A holder that finds no leader has no turn: no broker has the file open.
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
-- What waits is counted in bytes: see queue-scripts.ts of the broker.
if bytes > 0 then redis.call('HINCRBY', meta, 'onewriter.bytes', bytes) end
redis.call('HSET', meta, 'onewriter.holds', left, 'onewriter.epoch', word, 'onewriter.released', word)
return {1, redis.call('LLEN', wait), gone, soonest - now}`;
