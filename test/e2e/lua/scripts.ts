import { openRedis } from '@onewriter/runtime';
import { startRedis, type TestRedis } from '@onewriter/testkit';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll } from 'vitest';

/** The Lua scripts of a folder as they were built: `workers/broker/dist/leader`. */
export function loadScripts(folder: string): Promise<Record<string, string>> {
  return import(new URL(`../../../${folder}/lua-scripts.js`, import.meta.url).href);
}

/** Runs scripts on a Redis that the tests of a file share. */
export class ScriptRunner {
  #server: TestRedis | undefined;
  #redis: Redis | undefined;

  constructor() {
    beforeAll(async () => {
      this.#server = await startRedis();
      this.#redis = await openRedis(this.#server.url);
    });
    afterAll(async () => {
      this.#redis?.disconnect();
      await this.#server?.stop();
    });
  }

  get redis(): Redis {
    return this.#redis!;
  }

  run(lua: string | undefined, keys: readonly string[], ...args: (string | number)[]): Promise<unknown> {
    return this.redis.eval(lua!, keys.length, ...keys, ...args);
  }
}
