import { createHash } from 'node:crypto';
import { backOffMs, isNotNow, OnewriterError, RedisGuard } from '@onewriter/protocol';
import { type Logger, newRedis } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { Standstill } from '../lanes/standstill.ts';

/** The broker's two connections: commands, and the wait at the doorbell. Their number does not grow with tenants. */
export interface RedisLinkOptions {
  readonly url: string;
  readonly log: Logger;
  /** Shown by `CLIENT LIST`. */
  readonly name: string;
  /** A connection that owes an answer and is silent for this long is replaced. Default: 5,000. */
  readonly silenceTimeoutMs?: number | undefined;
}

const SILENCE_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_RECONNECT_PAUSE_MS = 500;
/** Connections that broke because this process stood still end within this time. */
const AFTER_STANDSTILL_MS = 200;
const MAX_RETRY_PAUSE_MS = 1_000;
/** Pause between two checks whether Redis has loaded its data; ioredis would wait for as long as Redis guesses, up to 10 s. */
const LOADING_LOOK_MS = 100;

/** A Lua script, run by its hash. */
export interface Script {
  readonly lua: string;
  readonly sha: string;
  /** How many of its first arguments are keys. */
  readonly keys: number;
  /**
   * Later commands must not be executed before it, so it is sent in full: a Redis that has forgotten it (SCRIPT FLUSH) would
   * refuse its hash, and it would be sent again after them.
   */
  readonly inFull: boolean;
}

/** Makes a {@link Script}. @param keys how many of its arguments are keys; they come first. */
export function defineScript(keys: number, lua: string, inFull = false): Script {
  return { lua, keys, inFull, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Up to this many commands in a millisecond count as quiet: an uncontended job sends three. */
const QUIET_COMMANDS_PER_MS = 6;

/**
 * A connection to Redis that queues and repeats nothing on its own: a command whose reply was lost may have been executed, and
 * its sender has to find out (see tenant-session.ts). Commands go to the socket in the order they were issued. When busy, all
 * commands of one turn of the event loop go in one write: with many tenants at work one system call serves them all. When
 * quiet, those of one callback go at its end, so that an uncontended write need not wait for the turn. (Not with ioredis's
 * pipelines: making one costs more than a command.)
 */
export class RedisLink {
  readonly redis: Redis;
  readonly #guard: RedisGuard;
  readonly #standstill = new Standstill();
  #corked = false;
  /** Whether the last millisecond was quiet. */
  #quiet = true;
  #millisecond = 0;
  #commands = 0;
  readonly #wakers = new Set<() => void>();
  #closed = false;

  constructor(options: RedisLinkOptions) {
    const { log } = options;
    this.#guard = new RedisGuard(log, () => this.#wake());
    this.redis = newRedis(
      options.url,
      {
        connectionName: options.name,
        connectTimeout: CONNECT_TIMEOUT_MS,
        enableOfflineQueue: false,
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        maxLoadingRetryTime: LOADING_LOOK_MS,
        socketTimeout: options.silenceTimeoutMs ?? SILENCE_TIMEOUT_MS,
        retryStrategy: times => backOffMs(times, { firstMs: 50, maxMs: MAX_RECONNECT_PAUSE_MS }),
      },
      this.#guard,
    );
    let reported = false;
    this.redis.on('error', error => {
      const stoodStillMs = Math.round(this.#standstill.recentMs(AFTER_STANDSTILL_MS));
      if (stoodStillMs > 0 && !reported) {
        // Answers that were due count as missing then; real trouble with Redis shows after reconnecting.
        log.warn(
          { err: error, stoodStillMs },
          `This process was stopped, or stood still, for ${Math.round(stoodStillMs / 1_000)} s; connecting to Redis again`,
        );
        return;
      }
      if (!reported) log.error({ err: error }, 'Redis is not reachable; trying again until it is');
      reported = true;
    });
    this.redis.on('ready', () => {
      if (reported) log.info('Redis is reachable again');
      reported = false;
      this.#wake();
    });
    this.redis.on('end', () => this.#wake());
  }

  /** Trouble with the connection, for people; undefined while connected to a server that can serve. */
  get trouble(): string | undefined {
    if (this.redis.status === 'ready') return undefined;
    return this.#guard.refusal?.message ?? 'Redis does not answer.';
  }

  /**
   * Resolves when there is a connection.
   * @throws Error when the link is closed; OnewriterError MISCONFIGURED where Redis runs in cluster mode
   */
  async ready(): Promise<void> {
    while (this.redis.status !== 'ready') {
      if (this.#closed) throw new LinkClosed();
      const refusal = this.#guard.refusal;
      if (refusal?.code === 'MISCONFIGURED') throw refusal;
      await new Promise<void>(resolve => {
        this.#wakers.add(resolve);
      });
    }
  }

  /**
   * Sends one command with those of the same turn.
   * @throws Error of the connection (the command may have been executed or not) or of Redis.
   */
  call(command: string, ...args: (string | number)[]): Promise<unknown> {
    this.#cork();
    this.#count();
    return this.redis.call(command, ...args);
  }

  /**
   * When quiet, sends the issued commands at once: Redis answers the first of two commands only when it has executed all that
   * it read with it.
   */
  expedite(): void {
    if (this.#quiet) this.#uncork();
  }

  /** Runs a script; keys first. @throws as {@link call} */
  async run({ sha, keys, lua, inFull }: Script, args: readonly (string | number)[]): Promise<unknown> {
    if (inFull) return this.call('EVAL', lua, keys, ...args);
    try {
      return await this.call('EVALSHA', sha, keys, ...args);
    } catch (error) {
      // Not yet known to this server (first use, or a restart): it was not executed. EVAL makes it known.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return this.call('EVAL', lua, keys, ...args);
    }
  }

  /**
   * Repeats a repeatable call until it succeeds, while Redis is away or says "not now".
   * @throws other errors of Redis; Error when the link is closed.
   */
  async retryUntilDone<Result>(attempt: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries++) {
      try {
        if (this.redis.status !== 'ready') await this.ready();
        return await attempt();
      } catch (error) {
        if (this.#closed || !isTemporary(error)) throw error;
      }
      const pauseMs = backOffMs(tries, { firstMs: 10, maxMs: MAX_RETRY_PAUSE_MS });
      await new Promise<void>(resolve => void setTimeout(resolve, pauseMs));
    }
  }

  /** Ends the connection; pending commands fail. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#standstill.close();
    this.redis.disconnect();
    this.#wake();
  }

  #wake(): void {
    const wakers = [...this.#wakers];
    this.#wakers.clear();
    for (const wake of wakers) wake();
  }

  #cork(): void {
    if (this.#corked || this.redis.status !== 'ready') return;
    this.#corked = true;
    this.redis.stream.cork();
    if (this.#quiet) process.nextTick(() => this.#uncork());
    // After the poll phase: the commands from all sockets and threads of this turn go together.
    else setImmediate(() => this.#uncork());
  }

  #count(): void {
    const now = Date.now();
    if (now !== this.#millisecond) {
      this.#quiet = this.#commands <= QUIET_COMMANDS_PER_MS;
      this.#millisecond = now;
      this.#commands = 0;
    }
    this.#commands++;
  }

  #uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.redis.stream.uncork();
  }
}

/** The link was closed on purpose. */
export class LinkClosed extends Error {
  override readonly message = 'The connection to Redis is closed.';
}

/** Whether the same command may succeed later; errors of the connection always may. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof LinkClosed || error instanceof OnewriterError || !(error instanceof Error))
    return false;
  return error.name !== 'ReplyError' || isNotNow(error.message) || error.message.startsWith('OOM');
}
