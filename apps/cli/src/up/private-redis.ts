import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { OnewriterError, readFileIfThere } from '@onewriter/protocol';
import { Redis } from 'ioredis';
import { ensureSecret, writePrivateFile } from '../private-file.ts';
import type { UpLog } from './log.ts';
import { findFreePort, isPortFree } from './ports.ts';
import { guardRedis } from './redis-guard.ts';
import { SupervisedProcess } from './supervised-process.ts';

/*
 * The Redis of one data directory, in `<dataDir>/redis`:
 *
 *   appendonlydir/   the AOF, synced every second
 *   redis.conf       written at each start; holds the password, so it is readable by its owner alone
 *   password, port   kept, so that the URL stays the same from one start to the next
 *   redis.pid        written by Redis
 */

const HOST = '127.0.0.1';

/** Loading a large AOF takes its time: about 1 GB in 10 s. */
const START_TIMEOUT_MS = 10 * 60_000;
const GRACE_MS = 10_000;

/** Options of {@link createPrivateRedis}. */
export interface PrivateRedisOptions {
  readonly dataDir: string;
  readonly log: UpLog;
  /** After each start. */
  readonly onReady: (pid: number) => void;
  /** After a kill -9 of this process, Redis stays for this long so that the others can drain. */
  readonly orphanMs: number;
}

/** The private Redis. */
export interface PrivateRedis {
  /** Starts it; resolves to its URL when it has loaded its data. @throws OnewriterError MISCONFIGURED */
  start(): Promise<string>;
  stop(): Promise<void>;
  kill(): void;
}

/** Where the Redis of a data directory is, or was. */
export interface RedisPlace {
  readonly directory: string;
  /** 0 if it never ran. */
  readonly port: number;
  readonly password: string;
  /** 0 if it wrote none. */
  readonly pid: number;
}

/** Reads where the Redis of a data directory is, or was. Makes its password on first use. */
export function readRedisPlace(dataDir: string): RedisPlace {
  const directory = join(dataDir, 'redis');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const number = (file: string) => Number.parseInt(readFileIfThere(join(directory, file)) ?? '', 10) || 0;
  return {
    directory,
    port: number('port'),
    password: ensureSecret(join(directory, 'password')),
    pid: number('redis.pid'),
  };
}

/** The URL of a Redis on this machine. */
export function redisUrl(port: number, password: string): string {
  // With a user name: redis-cli takes a URL without one for a user whose name is empty.
  return `redis://default:${encodeURIComponent(password)}@${HOST}:${port}`;
}

/** Creates the private Redis of a data directory; it runs after `start`. */
export function createPrivateRedis(options: PrivateRedisOptions): PrivateRedis {
  const { dataDir, log } = options;
  const place = readRedisPlace(dataDir);
  let port = place.port;
  let served = false;
  let showWarnings = false;
  let callOffGuard = () => {};

  const supervised = new SupervisedProcess<number>({
    name: 'redis',
    log,
    startTimeoutMs: START_TIMEOUT_MS,
    graceMs: GRACE_MS,
    command: async failedOutput => {
      callOffGuard();
      showWarnings = false;
      // Once served, the port is in the clients' URLs and stays. Before, any free one will do.
      const taken = port === 0 || failedOutput.includes('Address already in use');
      if (!served && (taken || !(await isPortFree(HOST, port)))) port = await findFreePort(HOST);
      writePrivateFile(join(place.directory, 'port'), `${port}\n`);
      const configuration = join(place.directory, 'redis.conf');
      writePrivateFile(configuration, redisConfiguration({ ...place, port }));
      return { file: 'redis-server', args: [configuration] };
    },
    whenReady: async (child, signal) => {
      // From the first moment on: this process may be killed while Redis loads its data.
      if (child.pid !== undefined) callOffGuard = guardRedis(child.pid, options.orphanMs);
      await waitUntilServing(child, redisUrl(port, place.password), signal, log);
      return port;
    },
    onReady: (_, pid) => {
      served = true;
      showWarnings = true;
      options.onReady(pid);
    },
    onLine: line => {
      // Output of Redis while it starts or stops is shown only if that fails; in between its warnings count.
      if (showWarnings && / # /.test(line)) log('warn', line.replace(/^.* # /, ''), 'redis');
    },
  });

  return {
    start: async () => {
      try {
        return redisUrl(await supervised.start(), place.password);
      } catch (error) {
        throw explainStartFailure(error);
      }
    },
    stop: async () => {
      showWarnings = false;
      await supervised.stop();
      callOffGuard();
    },
    kill: () => {
      supervised.kill();
      callOffGuard();
    },
  };
}

/** The contents of redis.conf. Strings are quoted as redis.conf wants it, which is how JSON does it. */
function redisConfiguration(place: RedisPlace): string {
  return [
    '# Written by `onewriter up` at each start; changes are lost.',
    `bind ${HOST}`,
    `port ${place.port}`,
    `dir ${JSON.stringify(place.directory)}`,
    `pidfile ${JSON.stringify(join(place.directory, 'redis.pid'))}`,
    `requirepass ${JSON.stringify(place.password)}`,
    'daemonize no',
    'supervised no',
    'save ""',
    'appendonly yes',
    'appendfsync everysec',
    'maxmemory-policy noeviction',
    '',
  ].join('\n');
}

async function waitUntilServing(
  child: ChildProcess,
  url: string,
  signal: AbortSignal,
  log: UpLog,
): Promise<void> {
  const redis = new Redis(url, { lazyConnect: true, enableReadyCheck: false, retryStrategy: null });
  redis.on('error', () => {}); // a server that does not listen yet; the loop tries again
  let reportedAt = performance.now();
  try {
    for (;;) {
      signal.throwIfAborted();
      const state = await askState(redis);
      // Another server could have the port; the right one has the pid of our child.
      if (state?.pid === child.pid && !state?.loading) return;
      if (state?.loading && performance.now() - reportedAt > 5_000) {
        reportedAt = performance.now();
        log('info', `loading its data: ${state.loadedPercent} %`, 'redis');
      }
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  } finally {
    redis.disconnect();
  }
}

interface RedisState {
  readonly pid: number;
  readonly loading: boolean;
  readonly loadedPercent: string;
}

/** Undefined while no server answers. INFO is one of the few commands that are answered while data is loaded. */
async function askState(redis: Redis): Promise<RedisState | undefined> {
  try {
    if (redis.status === 'wait' || redis.status === 'end') await redis.connect();
    const info = await redis.info();
    const field = (name: string) => new RegExp(`^${name}:([^\r\n]*)`, 'm').exec(info)?.[1] ?? '';
    return {
      pid: Number(field('process_id')),
      loading: field('loading') === '1',
      loadedPercent: field('loading_loaded_perc'),
    };
  } catch {
    return undefined;
  }
}

function explainStartFailure(error: unknown): unknown {
  if (!(error instanceof OnewriterError) || !error.message.includes('ENOENT')) return error;
  return new OnewriterError(
    'MISCONFIGURED',
    'redis-server is not installed. Install it (apt-get install redis-server), or give a Redis with --redis-url.',
    {},
    error,
  );
}
