import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { askRedis, groupKeys, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';

/*
 * Sessions of browsers. The cookie holds a random id, Redis the token, encrypted with a key that only the id gives: neither
 * who reads Redis nor who reads a cookie after the session has a token. Each request checks the token itself, so a session
 * ends when its token expires, is revoked, or was signed with a secret that does not count any more.
 */

/** A session ends when nothing asked in it for this long. */
const SESSION_IDLE_SECONDS = 30 * 60;
/** And so long after the login in any case. */
export const SESSION_SECONDS = 12 * 60 * 60;

const ID_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ID = /^[A-Za-z0-9_-]{43}$/;

interface Session {
  readonly token: string;
  /** Ms since the epoch. */
  readonly startedAtMs: number;
}

/** Sessions that this process remembers, for when Redis does not answer. */
const MAX_REMEMBERED = 1_000;

/** Keeps them; several dashboards of one group have the same. */
export class SessionStore {
  readonly #redis: Redis;
  readonly #group: string;
  /** By id: people look here when Redis is in trouble. */
  readonly #remembered = new LRUCache<string, Session>({ max: MAX_REMEMBERED });

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  /** Starts a session with a token that was checked. @returns the id for the cookie */
  async start(token: string): Promise<string> {
    const id = randomBytes(ID_BYTES).toString('base64url');
    const session: Session = { token, startedAtMs: Date.now() };
    const sealed = encrypt(id, JSON.stringify(session));
    await askRedis(() => this.#redis.set(this.#keyOf(id), sealed, 'EX', SESSION_IDLE_SECONDS));
    return id;
  }

  /**
   * The token of a session, which lives on for having been used. While Redis does not answer, of those that this process has
   * seen alive.
   * @throws OnewriterError UNAUTHENTICATED, QUEUE_UNAVAILABLE
   */
  async tokenOf(id: string): Promise<string> {
    let session: Session;
    try {
      session = await this.#find(id);
    } catch (error) {
      const remembered = this.#remembered.get(id);
      if (remembered === undefined || (isOnewriterError(error) && error.code === 'UNAUTHENTICATED'))
        throw error;
      return remembered.token;
    }
    this.#remembered.set(id, session);
    const leftSeconds = Math.ceil(SESSION_SECONDS - (Date.now() - session.startedAtMs) / 1_000);
    if (leftSeconds <= 0) {
      await this.end(id);
      throw sessionEnded();
    }
    await askRedis(() => this.#redis.expire(this.#keyOf(id), Math.min(leftSeconds, SESSION_IDLE_SECONDS)));
    return session.token;
  }

  /** Whether it lives, without prolonging it. @throws OnewriterError UNAUTHENTICATED */
  async assertAlive(id: string): Promise<void> {
    await this.#find(id);
  }

  /** Idempotent. */
  async end(id: string): Promise<void> {
    this.#remembered.delete(id);
    if (ID.test(id)) await askRedis(() => this.#redis.del(this.#keyOf(id)));
  }

  async #find(id: string): Promise<Session> {
    const sealed = ID.test(id) ? await askRedis(() => this.#redis.get(this.#keyOf(id))) : null;
    if (sealed === null) {
      this.#remembered.delete(id);
      throw sessionEnded();
    }
    return JSON.parse(decrypt(id, sealed)) as Session;
  }

  #keyOf(id: string): string {
    return `${groupKeys(this.#group).sessions}:${digest(`name ${id}`).toString('base64url')}`;
  }
}

function sessionEnded(): OnewriterError {
  return new OnewriterError('UNAUTHENTICATED', 'The session has ended. Log in again.');
}

function encrypt(id: string, text: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', digest(`key ${id}`), nonce);
  const parts = [nonce, cipher.update(text, 'utf8'), cipher.final()];
  return Buffer.concat([...parts, cipher.getAuthTag()]).toString('base64');
}

function decrypt(id: string, sealed: string): string {
  const bytes = Buffer.from(sealed, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', digest(`key ${id}`), bytes.subarray(0, NONCE_BYTES));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
  return Buffer.concat([text, decipher.final()]).toString('utf8');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
