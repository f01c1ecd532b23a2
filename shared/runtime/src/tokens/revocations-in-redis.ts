import { createHash } from 'node:crypto';
import { groupKeys, isOnewriterError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { askRedis } from '../ask-redis.ts';
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
 * Reads the copy: what is revoked, as it was a second ago at the latest. While Redis does not answer, as it was before; one
 * caller a second waits for it then. Until the first answer a token is refused: it may be revoked.
 */
export class RevocationsInRedis implements Revocations {
  readonly #redis: Redis;
  readonly #key: string;
  #known: RevokedAt = new Map();
  #version: string | null = null;
  #isKnown = false;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#key = groupKeys(group).revoked;
  }

  /** @throws OnewriterError QUEUE_UNAVAILABLE where Redis has not answered yet */
  async isRevoked(token: VerifiedToken): Promise<boolean> {
    if (performance.now() - this.#lookedAt >= EVERY_MS) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
      await this.#looking;
    }
    return isRevoked(this.#known, token);
  }

  async #look(): Promise<void> {
    try {
      await askRedis(() => this.#read());
      this.#isKnown = true;
    } catch (error) {
      if (!this.#isKnown || !isOutage(error)) throw error;
    }
    this.#lookedAt = performance.now();
  }

  async #read(): Promise<void> {
    const version = await this.#redis.hget(this.#key, VERSION);
    if (version === this.#version) return;
    const fields = await this.#redis.hgetall(this.#key);
    this.#known = new Map(
      Object.entries(fields)
        .filter(([key]) => key !== VERSION)
        .map(([key, at]) => [key, Number(at)]),
    );
    this.#version = version;
  }
}

function isOutage(error: unknown): boolean {
  return isOnewriterError(error) && error.code === 'QUEUE_UNAVAILABLE';
}

function versionOf(known: RevokedAt): string {
  const lines = [...known].map(([key, at]) => `${key}=${at}`).sort();
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
}
