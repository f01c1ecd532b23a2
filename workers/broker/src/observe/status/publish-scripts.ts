import { defineScript, isTemporary, type RedisLink, type Script } from '../../queue/redis-link.ts';

/*
 * The status must be visible when Redis is full, too: that is when people look. A script may declare that it runs nevertheless
 * (Redis 7 and newer); its value replaces the one of a second ago.
 */

const ALLOW_OOM = '#!lua flags=allow-oom\n';

/** KEYS status · ARGV json, ttlMs. */
const SET_STATUS = `return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])`;

/**
 * KEYS brokers · ARGV broker, tail of its record, ttlMs of the hash. The time is Redis', so that the clocks of hosts need
 * not agree; records of processes that died are removed after ten times their life.
 */
const NOTE_BROKER = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, broker in ipairs(redis.call('HKEYS', KEYS[1])) do
  local at = tonumber(string.match(redis.call('HGET', KEYS[1], broker), '^{"at":(%d+)') or '0')
  if now - at > 10 * ARGV[3] then redis.call('HDEL', KEYS[1], broker) end
end
redis.call('HSET', KEYS[1], ARGV[1], '{"at":' .. string.format('%d', now) .. ',' .. ARGV[2])
return redis.call('PEXPIRE', KEYS[1], 10 * ARGV[3])`;

/** A script that runs when Redis is full, if Redis supports that. */
class TolerantScript {
  readonly #lua: string;
  readonly #tolerant: Script;

  constructor(lua: string) {
    this.#lua = lua;
    this.#tolerant = defineScript(1, ALLOW_OOM + lua);
  }

  async run(link: RedisLink, args: readonly (string | number)[]): Promise<void> {
    try {
      await link.run(this.#tolerant, args);
    } catch (error) {
      // Before Redis 7 the first line is not valid Lua.
      if (isTemporary(error) || !/Error compiling script/.test(String(error))) throw error;
      await link.run(defineScript(1, this.#lua), args);
    }
  }
}

/** Puts the leader's status into its key. */
export const setStatus = new TolerantScript(SET_STATUS);
/** Puts a broker's record into the hash. */
export const noteBroker = new TolerantScript(NOTE_BROKER);
