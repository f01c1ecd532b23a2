import { presenceKey } from '@onewriter/protocol';
import { isTemporary, type RedisLink } from '../queue/redis-link.ts';

/** Finds out whether a client with a transaction still exists. */
export class ClientPresence {
  readonly #link: RedisLink;
  readonly #group: string;

  constructor(link: RedisLink, group: string) {
    this.#link = link;
    this.#group = group;
  }

  /** True also where Redis does not answer. */
  async isHere(client: string): Promise<boolean> {
    try {
      return (await this.#link.call('EXISTS', presenceKey(this.#group, client))) !== 0;
    } catch (error) {
      if (isTemporary(error)) return true;
      throw error;
    }
  }
}
