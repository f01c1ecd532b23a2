import { mkdtempSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { signToken } from '@onewriter/runtime';
import {
  freePort,
  type Service,
  type SpawnedProcess,
  spawnProcess,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { sourceFile } from './paths.ts';
import { installPostgres } from './peers/install-postgres.ts';

/** What may differ between environments. */
export interface EnvironmentOptions {
  /** Other builds than the repository's: the paths of their main.js. */
  readonly mains?: Readonly<Record<'broker' | 'gateway', string | undefined>> | undefined;
  /** Options of Node for the broker or the gateway: profiling. */
  readonly nodeArguments?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Settings of our processes. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** An HTTP server under test. */
export interface Server {
  readonly url: string;
  readonly pid: number;
}

/**
 * The servers under test, each started when it is first asked for, with folders of their own below one temporary
 * folder; all on one file system. What idles costs the others nothing that could be measured.
 */
export class Environment implements AsyncDisposable {
  readonly #options: EnvironmentOptions;
  readonly #started = new Map<string, Promise<unknown>>();
  readonly #toStop: (() => Promise<unknown>)[] = [];
  #folder: TemporaryDirectory | undefined;

  constructor(options: EnvironmentOptions = {}) {
    this.#options = options;
  }

  /** The folder of one system's files. */
  async folder(name: string): Promise<string> {
    this.#folder ??= await temporaryDirectory('bench');
    const path = join(this.#folder.path, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  /** A Redis for one system: AOF, synced every second, as `onewriter up` runs it. */
  redis(name: 'onewriter' | 'bullmq'): Promise<TestRedis> {
    return this.#once(`redis ${name}`, async () => {
      const redis = await startRedis({ appendonly: 'everysec' });
      this.#toStop.push(() => redis.stop());
      return redis;
    });
  }

  /** @param env settings of this broker, where none runs yet */
  broker(
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ pid: number; url: string; stop(): Promise<unknown> }> {
    return this.#once('broker', async () => {
      const redis = await this.redis('onewriter');
      const dataDir = await this.folder('onewriter');
      const broker = await this.#startOurs('broker', redis.url, dataDir, env);
      this.#toStop.push(() => broker.stop());
      return broker;
    });
  }

  /** Stops the broker; the next {@link broker} starts another. */
  async stopBroker(): Promise<void> {
    const broker = this.#started.get('broker') as ReturnType<Environment['broker']> | undefined;
    this.#started.delete('broker');
    await (await broker)?.stop();
  }

  gateway(): Promise<Server & { token: string; stop(): Promise<unknown> }> {
    return this.#once('gateway', async () => {
      await this.broker();
      const redis = await this.redis('onewriter');
      const gateway = await this.#startOurs('gateway', redis.url, await this.folder('onewriter'));
      this.#toStop.push(() => gateway.stop());
      const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'write' });
      return { url: `http://127.0.0.1:${gateway.port}`, pid: gateway.pid, token, stop: () => gateway.stop() };
    });
  }

  /** Peer (a). */
  proxy(): Promise<Server> {
    return this.#once('proxy', async () => {
      const proxy = await this.#startPeer([sourceFile('peers/usual-proxy.js'), await this.folder('proxy')]);
      return { url: `http://127.0.0.1:${proxy.port}`, pid: proxy.pid };
    });
  }

  /** Peer (e). */
  bullmqWorker(): Promise<{ pid: number; queue: string }> {
    return this.#once('bullmq', async () => {
      const queue = 'writes';
      const redis = await this.redis('bullmq');
      const program = sourceFile('peers/bullmq-worker.js');
      const { pid } = await this.#startPeer([program, redis.url, queue, await this.folder('bullmq')]);
      return { pid, queue };
    });
  }

  /** Peer (d). */
  postgres(): Promise<Server> {
    return this.#once('postgres', async () => {
      await installPostgres();
      // A server that root starts runs as another user, who must be able to reach its folder.
      const folder = await this.folder('postgres');
      await chmod(this.#folder!.path, 0o755);
      const port = await freePort();
      const program = sourceFile('peers/postgres/server.js');
      const { pid } = await this.#startPeer([program, mkdtempSync(join(folder, 'data-')), String(port)]);
      return { url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`, pid };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#toStop.reverse()) await stop();
    await this.#folder?.remove();
  }

  async #startOurs(
    name: 'broker' | 'gateway',
    redisUrl: string,
    dataDir: string,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Service> {
    const nodeArguments = this.#options.nodeArguments?.[name] ?? [];
    const env = { ONEWRITER_LOG_LEVEL: 'warn', ...this.#options.env, ...more };
    const other = this.#options.mains?.[name];
    if (nodeArguments.length === 0 && other === undefined) {
      return startService(name, { redisUrl, dataDir, env });
    }
    const main = name === 'broker' ? 'workers/broker/dist/main.js' : 'apps/gateway/dist/main.js';
    const program = other ?? sourceFile(`../../${main}`);
    return this.#startPeer([...nodeArguments, program], {
      ...env,
      ONEWRITER_REDIS_URL: redisUrl,
      ONEWRITER_DATA_DIR: dataDir,
      ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
      ONEWRITER_BROKER_PORT: '0',
      ONEWRITER_GATEWAY_PORT: '0',
    });
  }

  async #startPeer(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Service> {
    const peer: SpawnedProcess = await spawnProcess(process.execPath, args, { ipc: true, env });
    this.#toStop.push(() => peer.stop());
    const ready = () => peer.messages.find(it => (it as { type?: string }).type === 'ready');
    await waitFor(() => ready() !== undefined || peer.child.exitCode !== null, { timeoutMs: 30_000 });
    const message = ready() as { port: number } | undefined;
    if (message === undefined) throw new Error(`${args.join(' ')} did not start:\n${peer.logs()}`);
    return { ...peer, port: message.port, url: `http://127.0.0.1:${message.port}` };
  }

  #once<T>(key: string, start: () => Promise<T>): Promise<T> {
    let started = this.#started.get(key) as Promise<T> | undefined;
    if (started === undefined) {
      started = start();
      this.#started.set(key, started);
    }
    return started;
  }
}
