import { createHash } from 'node:crypto';
import { askRedis, groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from '../logger.ts';
import { isRevoked, type Revocations, type RevokedAt } from './revocation.ts';
import type { RevocationFiles } from './revocation-files.ts';
import type { VerifiedToken } from './token-verifier.ts';

/*
 * A copy of the revocations for processes that do not have the data directory. The files are the truth: gateways write them
 * here, and again where Redis has lost them. A hash: time by key, and the version of all.
 */

const VERSION = 'version';
const EVERY_MS = 1_000;

/** Keeps the copy in Redis equal to the files, until the returned function is called. */
export function publishRevocations(
  redis: Redis,
  group: string,
  files: RevocationFiles,
  log: Logger,
): () => void {
  const { revoked } = groupKeys(group);
  let published: string | undefined;
  let failing = false;
  async function publish(): Promise<void> {
    const known = files.current();
    const version = versionOf(known);
    const kept = await redis.hget(revoked, VERSION);
    if (kept === version || (kept === null && known.size === 0)) return;
    const fields: Record<string, number | string> = { ...Object.fromEntries(known), [VERSION]: version };
    await redis.multi().del(revoked).hset(revoked, fields).exec();
    if (published !== version) log.info({ revocations: known.size }, 'Revoked tokens published');
    published = version;
  }
  let running = false;
  const timer = setInterval(() => {
    if (running) return;
    running = true;
    publish()
      .then(
        () => {
          failing = false;
        },
        (error: unknown) => {
          if (!failing) log.warn({ err: error }, 'Revoked tokens could not be published; tried again');
          failing = true;
        },
      )
      .finally(() => {
        running = false;
      });
  }, EVERY_MS).unref();
  return () => clearInterval(timer);
}

/**
 * Reads the copy once a second: people open the dashboard when Redis is in trouble, and then what was read before counts. Until
 * the first answer a token is refused: it may be revoked.
 */
export class RevocationsInRedis implements Revocations {
  readonly #redis: Redis;
  readonly #key: string;
  #known: RevokedAt | undefined;
  #version: string | null = null;
  #looking: Promise<void> | undefined;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#key = groupKeys(group).revoked;
  }

  /** Reads it from now on. @returns ends that */
  follow(log: Logger): () => void {
    let failing = false;
    const look = () => {
      this.#look().then(
        () => {
          failing = false;
        },
        (error: unknown) => {
          if (!failing)
            log.warn({ err: error }, 'Revoked tokens cannot be read; what is known of them counts');
          failing = true;
        },
      );
    };
    look();
    const timer = setInterval(look, EVERY_MS).unref();
    return () => clearInterval(timer);
  }

  /** @throws OnewriterError QUEUE_UNAVAILABLE where Redis has not answered yet */
  async isRevoked(token: VerifiedToken): Promise<boolean> {
    if (this.#known === undefined) await this.#look();
    return isRevoked(this.#known!, token);
  }

  #look(): Promise<void> {
    this.#looking ??= askRedis(() => this.#read()).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #read(): Promise<void> {
    const version = await this.#redis.hget(this.#key, VERSION);
    if (this.#known !== undefined && version === this.#version) return;
    const fields = await this.#redis.hgetall(this.#key);
    this.#known = new Map(
      Object.entries(fields)
        .filter(([key]) => key !== VERSION)
        .map(([key, at]) => [key, Number(at)]),
    );
    this.#version = version;
  }
}

function versionOf(known: RevokedAt): string {
  const lines = [...known].map(([key, at]) => `${key}=${at}`).sort();
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
}
