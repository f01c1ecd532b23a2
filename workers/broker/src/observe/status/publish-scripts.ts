import { defineScript, isTemporary, type RedisLink, type Script } from '../../queue/redis-link.ts';
import { NOTE_BROKER, SET_STATUS } from './lua-scripts.ts';

/*
 * The status must be visible when Redis is full, too: that is when people look. A script may declare that it runs nevertheless
 * (Redis 7 and newer); its value replaces the one of a second ago.
 */

const ALLOW_OOM = '#!lua flags=allow-oom\n';

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
