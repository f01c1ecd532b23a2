import { hostname } from 'node:os';
import {
  type BrokerRecord,
  groupKeys,
  STATUS_EVERY_MS,
  STATUS_TTL_MS,
  STATUS_VERSION,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from '../../queue/redis-link.ts';
import { noteBroker } from './publish-scripts.ts';

/** Announces this broker process and its state every second, so that standbys are visible. */
export class BrokerPresence {
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #broker: string;
  readonly #state: () => BrokerRecord['state'];
  readonly #log: Logger;
  readonly #startedAt = Math.round(Date.now() - process.uptime() * 1_000);
  #port = 0;
  #timer: NodeJS.Timeout | undefined;
  #announcing = false;

  constructor(
    link: RedisLink,
    group: string,
    broker: string,
    state: () => BrokerRecord['state'],
    log: Logger,
  ) {
    this.#link = link;
    this.#key = groupKeys(group).brokers;
    this.#broker = broker;
    this.#state = state;
    this.#log = log;
  }

  /** @param port where this process answers probes. */
  start(port: number): void {
    this.#port = port;
    this.#timer = setInterval(() => void this.announce(), STATUS_EVERY_MS);
    void this.announce();
  }

  /** Announces now, after a change of state. The link reports errors of Redis; the next round announces again. */
  async announce(): Promise<void> {
    if (this.#announcing || this.#timer === undefined) return;
    this.#announcing = true;
    try {
      await noteBroker.run(this.#link, [this.#key, this.#broker, this.#tail(), STATUS_TTL_MS]);
    } catch (error) {
      this.#log.debug({ err: error }, 'Could not announce this broker');
    } finally {
      this.#announcing = false;
    }
  }

  /** Removes the record. Idempotent. */
  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    // While Redis is away the record expires.
    await this.#link.call('HDEL', this.#key, this.#broker).catch(() => {});
  }

  /** A BrokerRecord as JSON, without its beginning: Redis puts the time in front. */
  #tail(): string {
    const record = {
      v: STATUS_VERSION,
      broker: this.#broker,
      host: hostname(),
      pid: process.pid,
      state: this.#state(),
      startedAt: this.#startedAt,
      port: this.#port,
    } satisfies Omit<BrokerRecord, 'at'>;
    return JSON.stringify(record).slice(1);
  }
}
