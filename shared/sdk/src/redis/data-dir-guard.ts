import {
  findForeignDataDir,
  groupKeys,
  isOnewriterError,
  type OnewriterError,
  parseDataDirRecord,
  readDataDirIdentity,
  shortIdentity,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { SdkLogger } from '../types.ts';

/** Until a broker has claimed the group. */
const CHECK_EVERY_MS = 1_000;

/** What a {@link DataDirGuard} needs. */
export interface DataDirGuardOptions {
  readonly redis: Redis;
  readonly group: string;
  readonly dataDir: string;
  readonly logger: SdkLogger;
}

/**
 * Looks whether the files that this client reads are those that the group's brokers write: when it connects, until a broker
 * has claimed the group, and each time the connection was lost, because Redis may be another then.
 */
export class DataDirGuard {
  readonly #options: DataDirGuardOptions;
  #trouble: OnewriterError | undefined;
  #dir: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: DataDirGuardOptions) {
    this.#options = options;
  }

  /** What jobs carry; undefined while the directory has no identity. */
  get dir(): string | undefined {
    return this.#dir;
  }

  /** Why nothing is to be read or written; undefined where nothing is wrong. */
  get trouble(): OnewriterError | undefined {
    return this.#trouble;
  }

  /** @throws OnewriterError MISCONFIGURED where the group is another directory's */
  async start(): Promise<void> {
    const settled = await this.#look();
    if (this.#trouble !== undefined) throw this.#trouble;
    this.#options.redis.on('ready', () => void this.#check());
    if (!settled) this.#checkSoon();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** @throws OnewriterError MISCONFIGURED */
  assertOwn(): void {
    if (this.#trouble !== undefined) throw this.#trouble;
  }

  #checkSoon(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#check(), CHECK_EVERY_MS).unref();
  }

  async #check(): Promise<void> {
    let settled = false;
    const before = this.#trouble;
    try {
      settled = await this.#look();
    } catch (error) {
      this.#options.logger.info?.({ err: error }, 'Whose the group is could not be asked; asked again');
    }
    const { logger } = this.#options;
    if (this.#trouble !== undefined && before === undefined) logger.error({}, this.#trouble.message);
    if (!settled) this.#checkSoon();
  }

  /** @returns whether a broker has claimed the group for this directory. @throws Error of Redis */
  async #look(): Promise<boolean> {
    const { redis, group, dataDir } = this.#options;
    const record = await redis.get(groupKeys(group).dataDir);
    try {
      this.#trouble = findForeignDataDir(group, dataDir, record);
      const identity = readDataDirIdentity(dataDir);
      if (identity !== undefined) this.#dir = shortIdentity(identity);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      this.#trouble = error;
    }
    return this.#trouble === undefined && parseDataDirRecord(record) !== undefined;
  }
}
