import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { type Config, type ReadyMessage, signToken } from '@onewriter/runtime';
import { ensureSecret } from '../private-file.ts';
import { type ChildPids, type RunFile, removeRunFile, writeRunFile } from '../run-file.ts';
import { checkRedis } from './check-redis.ts';
import { lockDataDirectory } from './data-directory-lock.ts';
import { endLeftovers } from './leftovers.ts';
import { formatChildLine, type UpLog } from './log.ts';
import { isPortFree } from './ports.ts';
import { createPrivateRedis, type PrivateRedis } from './private-redis.ts';
import { SERVICES, type Service, servicePath } from './services.ts';
import { SupervisedProcess } from './supervised-process.ts';
import { waitUntilReady } from './wait-until-ready.ts';

/*
 * Start:  lock ▸ leftovers of a killed run ▸ Redis ▸ broker, gateway and dashboard at once ▸ /readyz ▸ run file
 * Stop:   gateway and dashboard at once ▸ broker ▸ Redis ▸ run file ▸ lock
 *
 * The doors close first, so that the broker can answer what came in through them; Redis goes last, because the
 * broker completes its jobs there.
 */

/** Options of {@link runStack}. */
export interface RunStackOptions {
  /** Settings of the children. */
  readonly config: Config;
  /** A Redis of the caller's; without it a private one is run in the data directory. */
  readonly redisUrl: string | undefined;
  /** Ports that the caller asked for; the others may move where they are taken. */
  readonly explicitPorts: ReadonlySet<Service>;
  readonly log: UpLog;
  /** Writes a child's line, ready for people. */
  readonly writeLine: (text: string) => void;
  readonly colour: boolean;
}

/** A running stack. */
export interface Stack {
  /** The run file as it was when all were ready, with a token for everything. */
  readonly run: RunFile;
  readonly token: string;
  /** Drains all, in order. Idempotent. */
  stop(): Promise<void>;
  /** Kills all at once. */
  kill(): void;
}

const START_TIMEOUT_MS = 60_000;

/** What a child needs beyond its own drain period to end. */
const GRACE_MARGIN_MS = 2_000;

/**
 * Starts everything; resolves when all serve. `signal` aborts the start.
 * @throws OnewriterError MISCONFIGURED naming what did not come up, with everything else ended again.
 */
export async function runStack(options: RunStackOptions, signal: AbortSignal): Promise<Stack> {
  const { config, log } = options;
  const dataDir = resolve(config.dataDir);
  const graceMs = config.drainMs + GRACE_MARGIN_MS;
  mkdirSync(dataDir, { recursive: true });
  const lock = lockDataDirectory(dataDir);
  const startedAt = new Date().toISOString();
  const pids: Record<keyof ChildPids, number> = { broker: 0, gateway: 0, dashboard: 0, redis: 0 };
  const ports: Record<Service, number> = {
    broker: config.brokerPort,
    gateway: config.gatewayPort,
    dashboard: config.dashboardPort,
  };
  let run: RunFile | undefined;
  const updateRun = (process: keyof ChildPids, pid: number) => {
    pids[process] = pid;
    if (run === undefined) return;
    run = { ...run, pids: { ...pids } };
    writeRunFile(run);
  };

  let privateRedis: PrivateRedis | undefined;
  const services = new Map<Service, SupervisedProcess<number>>();
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= stopAll(services, privateRedis).finally(() => {
      removeRunFile(dataDir);
      lock.release();
    });
    return stopping;
  };
  const kill = () => {
    for (const service of services.values()) service.kill();
    privateRedis?.kill();
  };
  const onAbort = () => void stop();
  signal.addEventListener('abort', onAbort);

  try {
    for (const service of SERVICES) assertBuilt(service);
    await endLeftovers(dataDir, graceMs, log);
    for (const service of SERVICES) ports[service] = await choosePort(service, ports[service], options);
    signal.throwIfAborted();

    let redisUrl = options.redisUrl;
    if (redisUrl === undefined) {
      privateRedis = createPrivateRedis({
        dataDir,
        log,
        orphanMs: graceMs,
        onReady: pid => updateRun('redis', pid),
      });
      redisUrl = await privateRedis.start();
    } else {
      await checkRedis(redisUrl);
    }
    signal.throwIfAborted();

    const tokenSecret = config.tokenSecret ?? ensureSecret(join(dataDir, 'token-secret'));
    const environment = (service: Service): NodeJS.ProcessEnv => ({
      ...process.env,
      ONEWRITER_REDIS_URL: redisUrl,
      ONEWRITER_DATA_DIR: dataDir,
      ONEWRITER_TOKEN_SECRET: tokenSecret,
      ONEWRITER_THREADS: String(config.threads),
      [`ONEWRITER_${service.toUpperCase()}_PORT`]: String(ports[service]),
    });
    for (const service of SERVICES) {
      services.set(
        service,
        new SupervisedProcess<number>({
          name: service,
          log,
          graceMs,
          startTimeoutMs: START_TIMEOUT_MS,
          command: failedOutput => {
            // Taken between the look and the start. Once it served, the port is in people's settings and stays.
            if (run === undefined && /EADDRINUSE/.test(failedOutput) && !options.explicitPorts.has(service)) {
              ports[service] = 0;
            }
            return {
              file: process.execPath,
              args: [servicePath(service)],
              env: environment(service),
              ipc: true,
            };
          },
          whenReady: readReadyMessage,
          onReady: (port, pid) => {
            ports[service] = port;
            updateRun(service, pid);
          },
          onLine: line => options.writeLine(formatChildLine(service, line, options.colour)),
        }),
      );
    }
    await startTogether(services);
    signal.throwIfAborted();

    const host = urlHost(config.host);
    const urls = {
      gatewayUrl: `http://${host}:${ports.gateway}`,
      dashboardUrl: `http://${host}:${ports.dashboard}`,
      brokerUrl: `http://${host}:${ports.broker}`,
    };
    await Promise.all([
      waitUntilReady('gateway', urls.gatewayUrl, signal),
      waitUntilReady('dashboard', urls.dashboardUrl, signal),
    ]);
    signal.throwIfAborted();
    run = {
      pid: process.pid,
      startedAt,
      ...urls,
      redisUrl,
      dataDir,
      group: config.group,
      dbFile: config.dbFile,
      pids: { ...pids },
    };
    writeRunFile(run);
    const token = await signToken(tokenSecret, { tenants: '*', access: 'admin' });
    return { run, token, stop, kill };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    // From here on the caller stops the stack itself.
    signal.removeEventListener('abort', onAbort);
  }
}

/** All at once; when one fails the error is thrown without waiting for the others. */
async function startTogether(services: ReadonlyMap<Service, SupervisedProcess<number>>): Promise<void> {
  await Promise.all(Array.from(services.values(), service => service.start()));
}

async function stopAll(
  services: ReadonlyMap<Service, SupervisedProcess<number>>,
  privateRedis: PrivateRedis | undefined,
): Promise<void> {
  await Promise.all([services.get('gateway')?.stop(), services.get('dashboard')?.stop()]);
  await services.get('broker')?.stop();
  await privateRedis?.stop();
}

async function choosePort(service: Service, port: number, options: RunStackOptions): Promise<number> {
  if (port === 0 || (await isPortFree(options.config.host, port))) return port;
  if (options.explicitPorts.has(service)) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `Port ${port} for the ${service} is taken. Give another, or 0 for any free one.`,
    );
  }
  options.log('info', `port ${port} is taken; the ${service} gets a free one`);
  return 0;
}

function assertBuilt(service: Service): void {
  const path = servicePath(service);
  if (existsSync(path)) return;
  throw new OnewriterError('MISCONFIGURED', `${path} is missing. Build first: npm run build`);
}

/** Resolves to the port of the child's HTTP server when the child says that it serves. */
function readReadyMessage(child: ChildProcess, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    child.on('message', (message: ReadyMessage) => {
      if (message?.type === 'ready') resolve(message.port);
    });
  });
}

/** An address to connect to: "any address" is something to listen on only. */
function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
