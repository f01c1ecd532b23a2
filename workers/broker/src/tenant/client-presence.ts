import { presenceKey } from '@onewriter/protocol';
import { isTemporary, type RedisLink } from '../queue/redis-link.ts';

/** Whether clients are there whose transactions are to begin, or are open. */
export class ClientPresence {
  readonly #link: RedisLink;
  readonly #group: string;

  constructor(link: RedisLink, group: string) {
    this.#link = link;
    this.#group = group;
  }

  /** True also where Redis does not say. */
  async isHere(client: string): Promise<boolean> {
    try {
      return (await this.#link.call('EXISTS', presenceKey(this.#group, client))) !== 0;
    } catch (error) {
      if (isTemporary(error)) return true;
      throw error;
    }
  }
}
