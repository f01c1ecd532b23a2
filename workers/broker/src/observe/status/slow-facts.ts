import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  countHibernated,
  deadLetterQueue,
  groupKeys,
  inspectDataDir,
  type StatusDisk,
  type StatusRedis,
} from '@onewriter/protocol';
import type { Config, Logger } from '@onewriter/runtime';
import type { RedisLink } from '../../queue/redis-link.ts';
import { readRedisFacts } from './redis-facts.ts';

/** Facts from Redis and the file system. */
export interface SlowFacts {
  readonly redis: StatusRedis;
  readonly disk: StatusDisk;
  /** Letters in the queue. */
  readonly deadLetters: number;
  /** Tenants ever seen. */
  readonly knownTenants: number;
  readonly hibernatedTenants: number;
}

const LOOK_EVERY_MS = 2_000;

/** Periodically asks Redis and the file system, and keeps the last answers. */
export class SlowFactsWatch {
  readonly #link: RedisLink;
  readonly #group: string;
  readonly #dataDir: string;
  readonly #kind: StatusDisk['kind'];
  readonly #log: Logger;
  #facts: SlowFacts | undefined;
  #looking = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    link: RedisLink,
    { group, dataDir, dataDirKind }: Pick<Config, 'group' | 'dataDir' | 'dataDirKind'>,
    log: Logger,
  ) {
    this.#link = link;
    this.#group = group;
    this.#dataDir = resolve(dataDir);
    this.#kind = inspectDataDir(dataDir, dataDirKind).kind === 'network' ? 'network' : 'local';
    this.#log = log;
  }

  /** Undefined before the first answers. */
  get facts(): SlowFacts | undefined {
    return this.#facts;
  }

  /** Resolves after the first look. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
    await this.#look();
  }

  /** Idempotent. */
  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const { prefix, name } = deadLetterQueue(this.#group);
      const [redis, letters, tenants, disk, hibernatedTenants] = await Promise.all([
        readRedisFacts(this.#link),
        this.#link.call('LLEN', `${prefix}:${name}:wait`),
        this.#link.call('ZCARD', groupKeys(this.#group).tenants),
        this.#readDisk(),
        countHibernated(this.#dataDir),
      ]);
      const deadLetters = Number(letters);
      this.#facts = { redis, disk, deadLetters, knownTenants: Number(tenants), hibernatedTenants };
    } catch (error) {
      // While Redis is away, the status cannot be published either.
      this.#log.debug({ err: error }, 'The state of Redis and of the disk could not be read');
    } finally {
      this.#looking = false;
    }
  }

  async #readDisk(): Promise<StatusDisk> {
    const { bsize, blocks, bavail } = await statfs(this.#dataDir);
    return {
      path: this.#dataDir,
      totalBytes: blocks * bsize,
      freeBytes: bavail * bsize,
      kind: this.#kind,
    };
  }
}
