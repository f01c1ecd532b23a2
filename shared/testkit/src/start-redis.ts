import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { type SpawnedProcess, spawnProcess } from './spawn-process.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { waitFor } from './wait-for.ts';

/** Options of {@link startRedis}. */
export interface StartRedisOptions {
  /** AOF: 'everysec', 'always', or false for none. Default: false. */
  readonly appendonly?: 'everysec' | 'always' | false | undefined;
  /** Default: 'noeviction', the only policy that a broker accepts. */
  readonly maxmemoryPolicy?: string | undefined;
  /** Default: a free port. */
  readonly port?: number | undefined;
  readonly password?: string | undefined;
  /** Further settings, as on redis-server's command line: `{ maxmemory: '10mb' }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** Added to the server's environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** A Redis server of one test's own. */
export interface TestRedis extends AsyncDisposable {
  /** `redis://127.0.0.1:<port>`, with the password if there is one. */
  readonly url: string;
  readonly port: number;
  /** The folder that holds its AOF. */
  readonly directory: string;
  /** Id of the server process that runs now; changes at {@link restart}. */
  readonly pid: () => number;
  readonly logs: () => string;
  /** Sends the server a signal: SIGKILL (default), SIGSTOP, SIGCONT. */
  kill(signal?: NodeJS.Signals): void;
  /** Starts it again on the same port and folder, after a {@link kill}. */
  restart(): Promise<void>;
  /** Ends the server and deletes its folder. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts a redis-server on a free port, with a temporary folder; it answers when this resolves.
 * @throws Error if redis-server is not installed or does not answer within 15 s.
 */
export async function startRedis(options: StartRedisOptions = {}): Promise<TestRedis> {
  const directory = await temporaryDirectory('redis');
  try {
    let { server, port } = await launch(directory.path, options);
    const auth = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
    const stop = async () => {
      await server.stop(5_000);
      await directory.remove();
    };
    return {
      url: `redis://${auth}127.0.0.1:${port}`,
      port,
      directory: directory.path,
      pid: () => server.pid,
      logs: () => server.logs(),
      kill: signal => server.kill(signal),
      restart: async () => {
        await server.stop(5_000);
        ({ server, port } = await launch(directory.path, { ...options, port }));
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await directory.remove();
    throw error;
  }
}

async function launch(
  directory: string,
  options: StartRedisOptions,
): Promise<{ server: SpawnedProcess; port: number }> {
  // Between finding a free port and listening on it, another process may take it: then try the next.
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const server = await spawnProcess('redis-server', settingsAsArguments(directory, port, options), {
      env: options.env,
    });
    try {
      await waitUntilServing(server, port, options.password);
      return { server, port };
    } catch (error) {
      await server.stop(5_000);
      const logs = server.logs();
      if (attempt < 5 && logs.includes('Address already in use')) continue;
      const { message } = error as Error;
      throw message.includes(logs) ? error : new Error(`${message}\nIt printed:\n${logs}`, { cause: error });
    }
  }
}

function settingsAsArguments(directory: string, port: number, options: StartRedisOptions): string[] {
  const settings: Record<string, string> = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: options.appendonly ? 'yes' : 'no',
    appendfsync: options.appendonly || 'everysec',
    'maxmemory-policy': options.maxmemoryPolicy ?? 'noeviction',
    daemonize: 'no',
    ...(options.password === undefined ? {} : { requirepass: options.password }),
    ...options.settings,
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** PING also fails while an AOF is being loaded. */
async function waitUntilServing(
  server: SpawnedProcess,
  port: number,
  password: string | undefined,
): Promise<void> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    ...(password === undefined ? {} : { password }),
    lazyConnect: true,
    retryStrategy: null,
    enableReadyCheck: false,
  });
  redis.on('error', () => {}); // each failed attempt is reported by waitFor
  try {
    await waitFor(
      async () => {
        if (hasEnded(server)) return true;
        if (redis.status !== 'ready') await redis.connect();
        // Another server on the same port would answer too.
        return (await redis.info('server')).includes(`process_id:${server.pid}\r`);
      },
      { timeoutMs: 15_000, what: `redis-server on port ${port}` },
    );
    if (hasEnded(server)) throw new Error(`redis-server ended at once:\n${server.logs()}`);
  } finally {
    redis.disconnect();
  }
}

function hasEnded(server: SpawnedProcess): boolean {
  return server.child.exitCode !== null || server.child.signalCode !== null;
}
