import { OnewriterError } from './onewriter-error.ts';

/*
 *                 INFO: a primary                    READONLY, LOADING, MASTERDOWN, MOVED, …
 *   connecting ───────────────────▶ in use ──────────────────────────────────────────────▶ connecting
 *       ▲  │
 *       └──┘ INFO: a replica, or cluster mode
 *
 * A connection to a server that cannot serve is given up and made again, with growing pauses: behind the same address, or at
 * the Sentinels, there is another primary soon. No command is sent again here: its sender decides.
 */

/** What is wrong with a Redis that answers. */
export type RedisProblemKind = 'replica' | 'cluster' | 'loading';

/** Says what is wrong, and what to do. */
export const REDIS_PROBLEMS: Readonly<Record<RedisProblemKind, string>> = Object.freeze({
  replica:
    'This Redis is a replica and accepts no writes. Point the URL at the primary, ' +
    'or list the Sentinels: redis+sentinel://host:port,host:port/name.',
  cluster:
    'This Redis runs in cluster mode, which is not supported: the keys of a group and of its tenants are in different ' +
    'slots. Use a Redis with cluster-enabled no; replicas and Sentinel are supported (docs/operations.md).',
  loading: 'This Redis is loading its data and answers nothing else until it has.',
});

/** Not executed for now: the same command may succeed later. Source: Redis, server.c (processCommand), blocked.c, cluster.c. */
const NOT_NOW =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|MISCONF|NOREPLICAS|NOSCRIPT|UNBLOCKED)\b/;
/** Before Redis 7 the error of a command in a script is in the middle of the script's. */
const REPLICA = /^(READONLY|MASTERDOWN)\b|-READONLY\b/;
const CLUSTER = /^(MOVED|ASK|CLUSTERDOWN|CROSSSLOT)\b/;

/** Whether an error reply says that the command was not executed, and may be later. */
export function isNotNow(message: string): boolean {
  return NOT_NOW.test(message) || REPLICA.test(message);
}

/** What an error reply says of the server; undefined: nothing. */
export function problemOfReply(message: string): RedisProblemKind | undefined {
  if (REPLICA.test(message)) return 'replica';
  if (CLUSTER.test(message)) return 'cluster';
  return message.startsWith('LOADING') ? 'loading' : undefined;
}

/** Also of a command in a script. Source: Redis, script.c (scriptVerifyACL). */
const MISSING_RIGHTS =
  /^NOPERM\b|^ERR unknown command|^ERR The user executing the script can't run this command/;

/**
 * The remedy, for the operator of Redis, of an error reply that no retry will mend.
 * @returns undefined for other errors
 */
export function explainReply(error: unknown): OnewriterError | undefined {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined;
  if (CLUSTER.test(error.message))
    return new OnewriterError('MISCONFIGURED', REDIS_PROBLEMS.cluster, {}, error);
  if (!MISSING_RIGHTS.test(error.message)) return undefined;
  const reason = error.message.replace(/^(NOPERM|ERR) /, '').replace(/\.$/, '');
  return new OnewriterError(
    'MISCONFIGURED',
    `Redis refuses a command: ${reason}. The rights that are needed: ${LEAST_RIGHTS} (ACL SETUSER).`,
    {},
    error,
  );
}

/** The least ACL of the Redis user of all processes; `test/e2e/redis-setups.e2e.test.ts` runs under it. */
export const LEAST_RIGHTS =
  '~ow:* +@read +@write +@connection +@scripting +@blocking +@transaction +info +time';

/** Where a guard reports. */
export interface RedisGuardLog {
  info?(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** What a guard needs of a connection of ioredis. */
interface GuardedConnection {
  info(...args: unknown[]): unknown;
  readonly connector: {
    check(info: RedisInfo): boolean;
    /** Only where there are Sentinels. */
    connectToSentinel?(...args: unknown[]): { on(event: 'error', listener: () => void): unknown };
  };
  readonly options: {
    reconnectOnError?: ((error: Error) => boolean) | null;
    retryStrategy?: ((times: number) => unknown) | null;
  };
  connect(): Promise<void>;
  disconnect(reconnect?: boolean): void;
  quit(...args: unknown[]): unknown;
  duplicate(override?: object): object;
  on(event: 'close' | 'end', listener: () => void): unknown;
}

type InfoCallback = (error: Error | null, answer?: unknown) => void;

/**
 * Without the right to INFO, ioredis prints a line on standard error at each connection and continues. A process that needs INFO
 * reports it more clearly. Only ioredis asks with a callback. Source: ioredis, Redis.js (_readyCheck).
 * @param redis an instance of ioredis' Redis
 */
export function quietReadyCheck<Connection extends object>(redis: Connection): Connection {
  const connection = redis as unknown as Pick<GuardedConnection, 'info'>;
  const info = connection.info.bind(connection);
  connection.info = (...args) => {
    const callback = args.at(-1);
    if (typeof callback !== 'function') return info(...args);
    const quiet: InfoCallback = (error, answer) =>
      error !== null && /^NOPERM\b/.test(error.message) ? callback(null, '') : callback(error, answer);
    return info(...args.slice(0, -1), quiet);
  };
  return redis;
}

/** Answer to INFO, by name. */
type RedisInfo = Readonly<Record<string, string | undefined>>;

/** A problem that does not show again for this long is over. */
const FORGET_AFTER_MS = 5_000;
/** From the end of a connection that its owner did not end to the next. */
const CONNECT_AGAIN_MS = 50;
/** With pauses of up to a second between attempts: after some seconds, and then about once a minute. */
const REPORT_AT = 10;
const REPORT_EVERY = 100;

/** Keeps connections of ioredis off servers that cannot serve: replicas, clusters. For the connections of one client. */
export class RedisGuard {
  readonly #log: RedisGuardLog;
  readonly #onProblem: () => void;
  #kind: RedisProblemKind | undefined;
  #failures = 0;
  #failedAt = Number.NEGATIVE_INFINITY;

  /** @param onProblem called at each connection that is given up */
  constructor(log: RedisGuardLog, onProblem: () => void = () => {}) {
    this.#log = log;
    this.#onProblem = onProblem;
  }

  /** What is wrong with the server that answered last; undefined where nothing is known to be. */
  get problem(): RedisProblemKind | undefined {
    return this.#recent ? this.#kind : undefined;
  }

  /** {@link problem} as an error: MISCONFIGURED for what does not pass, else QUEUE_UNAVAILABLE. */
  get refusal(): OnewriterError | undefined {
    const kind = this.problem;
    if (kind === undefined) return undefined;
    return new OnewriterError(
      kind === 'cluster' ? 'MISCONFIGURED' : 'QUEUE_UNAVAILABLE',
      REDIS_PROBLEMS[kind],
    );
  }

  /** Guards a connection that was just made, and its copies. @param redis an instance of ioredis' Redis */
  attach<Connection extends object>(redis: Connection): Connection {
    const connection = redis as unknown as GuardedConnection;
    const { connector, options } = connection;
    quietReadyCheck(redis);
    const check = connector.check.bind(connector);
    // Called with the answer to INFO before the connection counts as ready. Source: ioredis, event_handler.js.
    connector.check = info => {
      const fits = check(info); // with Sentinels, a role that does not fit also moves on to the next of them
      return this.#judge(info) && fits;
    };
    const toSentinel = connector.connectToSentinel?.bind(connector);
    if (toSentinel !== undefined) {
      connector.connectToSentinel = (...args) => {
        const sentinel = toSentinel(...args);
        // One of several may be away; ioredis prints an error that has no listener. If all are away, the connection reports it.
        sentinel.on('error', () => {});
        return sentinel;
      };
    }
    let leaving = false;
    connection.on('close', () => {
      leaving = false;
    });
    // True: connects again, and sends nothing again. Once per connection: many commands may be answered alike.
    options.reconnectOnError = error => {
      const kind = problemOfReply(error.message);
      if (kind === undefined || leaving) return false;
      leaving = true;
      this.#note(kind);
      return true;
    };
    const pauseMs = options.retryStrategy;
    if (typeof pauseMs === 'function') {
      // A connection that was ready for a moment does not begin with the shortest pause again.
      options.retryStrategy = times => pauseMs(this.#recent ? Math.max(times, this.#failures) : times);
    }
    this.#connectAgain(connection);
    const duplicate = connection.duplicate.bind(connection);
    connection.duplicate = override => this.attach(duplicate(override));
    return redis;
  }

  /**
   * ioredis gives a connection up for good where the Sentinels report a failover while it connects. Source: ioredis, Redis.js
   * (connect) and SentinelConnector (FailoverDetector). Only its owner ends it.
   */
  #connectAgain(connection: GuardedConnection): void {
    let isClosed = false;
    const disconnect = connection.disconnect.bind(connection);
    connection.disconnect = reconnect => {
      isClosed ||= reconnect !== true;
      disconnect(reconnect);
    };
    const quit = connection.quit.bind(connection);
    connection.quit = (...args) => {
      isClosed = true;
      return quit(...args);
    };
    connection.on('end', () => {
      if (isClosed) return;
      setTimeout(() => {
        // Where it fails, the connection reports the error, and ends again.
        if (!isClosed) connection.connect().catch(() => {});
      }, CONNECT_AGAIN_MS);
    });
  }

  /** Whether the server can serve. @param info may be empty: the user may not run INFO */
  #judge(info: RedisInfo): boolean {
    if (info['cluster_enabled'] === '1') return this.#note('cluster');
    const role = info['role'];
    if (role === undefined) return true;
    if (role !== 'master') return this.#note('replica');
    if (this.#kind !== undefined) this.#log.info?.({}, 'Redis serves again');
    this.#kind = undefined;
    return true;
  }

  #note(kind: RedisProblemKind): false {
    if (!this.#recent) {
      this.#failures = 0;
      this.#kind = undefined;
    }
    this.#failures++;
    this.#failedAt = performance.now();
    const isNew = this.#kind !== kind;
    this.#kind = kind;
    const facts = { problem: kind, failures: this.#failures };
    if (isNew) this.#log.warn(facts, `${REDIS_PROBLEMS[kind]} Connecting again until that has changed`);
    else if (this.#failures === REPORT_AT || this.#failures % REPORT_EVERY === 0) {
      this.#log.error(facts, `${REDIS_PROBLEMS[kind]} Still so after ${this.#failures} connections`);
    }
    this.#onProblem();
    return false;
  }

  get #recent(): boolean {
    return performance.now() - this.#failedAt < FORGET_AFTER_MS;
  }
}
