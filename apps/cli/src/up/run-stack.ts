import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { ALLOCATOR_ENVIRONMENT, type Config, DEFAULT_TOKEN_LIFE_MS, signToken } from '@onewriter/runtime';
import { ensureSecret } from '../private-file.ts';
import { type ChildPids, type RunFile, removeRunFile, writeRunFile } from '../run-file.ts';
import { isLeading } from './broker-state.ts';
import { checkRedis } from './check-redis.ts';
import { lockDataDirectory } from './data-directory-lock.ts';
import { endLeftovers } from './leftovers.ts';
import type { UpLog } from './log.ts';
import { isPortFree } from './ports.ts';
import { createPrivateRedis, type PrivateRedis } from './private-redis.ts';
import { environmentOf } from './service-environment.ts';
import { ServiceProcess } from './service-process.ts';
import { SERVICES, type Service, servicePath } from './services.ts';
import { waitUntilReady } from './wait-until-ready.ts';

/*
 * Start:  lock ▸ leftovers of a killed run ▸ Redis ▸ brokers, gateway and dashboard at once ▸ /readyz ▸ run file
 * Stop:   gateway and dashboard at once ▸ brokers that stand by ▸ the one that leads ▸ Redis ▸ run file ▸ lock
 *
 * The doors close first, so that the broker can answer what came in through them; then the standbys, so that none of
 * them takes over what is to end; Redis goes last, because the broker completes its jobs there.
 */

/** Options of {@link runStack}. */
export interface RunStackOptions {
  /** Settings of the children. */
  readonly config: Config;
  /** How many; the first to take the lease leads, the others stand by. */
  readonly brokers: number;
  /** A Redis of the caller's; without it a private one is run in the data directory. */
  readonly redisUrl: string | undefined;
  /** Ports that the caller asked for; the others may move where they are taken. */
  readonly explicitPorts: ReadonlySet<Service>;
  /** A process that served cannot be started any more: the stack is to be stopped. */
  readonly onGivenUp: (error: Error) => void;
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
  /** URL of the broker that led then; undefined in the rare moment in which none does. */
  readonly leaderUrl: string | undefined;
  /** Drains all, in order. Idempotent. */
  stop(): Promise<void>;
  /** Kills all at once. */
  kill(): void;
}

/** @throws OnewriterError MISCONFIGURED where there can be no such folder */
function makeDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true });
  } catch (error) {
    const { code, path = dataDir } = error as NodeJS.ErrnoException;
    const isFile = code === 'EEXIST' || code === 'ENOTDIR';
    throw new OnewriterError(
      'MISCONFIGURED',
      isFile
        ? `The data directory ${dataDir} cannot be made: a file is in its place, or in that of a folder above it. Name a folder with --data-dir or ONEWRITER_DATA_DIR.`
        : `The data directory ${dataDir} cannot be made (${code}${path === dataDir ? '' : `, ${path}`}). Give this user the right to write there, or name another folder with --data-dir or ONEWRITER_DATA_DIR.`,
      { reason: code },
      error,
    );
  }
}

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
  makeDataDir(dataDir);
  const lock = lockDataDirectory(dataDir);
  const startedAt = new Date().toISOString();
  // Where several run, the others stand by already.
  const spareBroker = options.brokers === 1 && config.spareBroker;
  const processes: ServiceProcess[] = [];
  let redisPid = 0;
  let run: RunFile | undefined;
  const urlOf = ({ port }: ServiceProcess) => `http://${urlHost(config.host)}:${port}`;
  const updateRun = () => {
    if (run === undefined) return;
    // A broker may have moved to another port.
    const brokerUrls = allOf(processes, 'broker').map(urlOf);
    run = { ...run, brokerUrl: brokerUrls[0]!, brokerUrls, pids: pidsOf(processes, redisPid) };
    writeRunFile(run);
  };

  let privateRedis: PrivateRedis | undefined;
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= stopAll(processes, privateRedis, urlOf).finally(() => {
      removeRunFile(dataDir);
      lock.release();
    });
    return stopping;
  };
  const kill = () => {
    for (const service of processes) service.kill();
    privateRedis?.kill();
  };
  const onAbort = () => void stop();
  signal.addEventListener('abort', onAbort);

  try {
    for (const service of SERVICES) assertBuilt(service);
    await endLeftovers(dataDir, graceMs, log);
    const ports = {
      gateway: await choosePort('gateway', config.gatewayPort, options),
      dashboard: await choosePort('dashboard', config.dashboardPort, options),
      broker: await choosePort('broker', config.brokerPort, options),
    };
    signal.throwIfAborted();

    let redisUrl = options.redisUrl;
    if (redisUrl === undefined) {
      privateRedis = createPrivateRedis({
        dataDir,
        log,
        orphanMs: graceMs,
        onReady: pid => {
          redisPid = pid;
          updateRun();
        },
      });
      redisUrl = await privateRedis.start();
    } else {
      await checkRedis(redisUrl, config.group, dataDir);
    }
    signal.throwIfAborted();

    const tokenSecret = config.tokenSecret ?? ensureSecret(join(dataDir, 'token-secret'));
    const environment: NodeJS.ProcessEnv = {
      ...ALLOCATOR_ENVIRONMENT,
      ...process.env,
      ONEWRITER_REDIS_URL: redisUrl,
      ONEWRITER_DATA_DIR: dataDir,
      ONEWRITER_TOKEN_SECRET: tokenSecret,
      ONEWRITER_THREADS: String(config.threads),
    };
    for (const { service, name, first } of listProcesses(options.brokers)) {
      processes.push(
        new ServiceProcess({
          service,
          name,
          // The configured port is the first broker's.
          port: first ? ports[service] : 0,
          mayMove: !(first && options.explicitPorts.has(service) && ports[service] !== 0),
          environment: environmentOf(service, environment),
          spare: service === 'broker' && spareBroker,
          graceMs,
          onReady: updateRun,
          onGivenUp: options.onGivenUp,
          log,
          writeLine: options.writeLine,
          colour: options.colour,
        }),
      );
    }
    // When one fails the error is thrown without waiting for the others.
    await Promise.all(processes.map(service => service.start()));
    signal.throwIfAborted();

    const gatewayUrl = urlOf(firstOf(processes, 'gateway'));
    const dashboardUrl = urlOf(firstOf(processes, 'dashboard'));
    const brokerUrls = allOf(processes, 'broker').map(urlOf);
    await Promise.all([
      waitUntilReady('gateway', gatewayUrl, signal),
      waitUntilReady('dashboard', dashboardUrl, signal),
    ]);
    signal.throwIfAborted();
    const leads = await Promise.all(brokerUrls.map(isLeading));
    const token = await signToken(
      tokenSecret,
      { tenants: '*', access: 'admin' },
      { expiresInMs: DEFAULT_TOKEN_LIFE_MS },
    );
    signal.throwIfAborted();
    run = {
      pid: process.pid,
      startedAt,
      gatewayUrl,
      dashboardUrl,
      brokerUrl: brokerUrls[0]!,
      brokerUrls,
      redisUrl,
      dataDir,
      group: config.group,
      dbFile: config.dbFile,
      replicaUrl: config.replicaUrl,
      pids: pidsOf(processes, redisPid),
      spareBroker,
    };
    writeRunFile(run);
    return { run, token, leaderUrl: brokerUrls[leads.indexOf(true)], stop, kill };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    // From here on the caller stops the stack itself.
    signal.removeEventListener('abort', onAbort);
  }
}

interface ProcessName {
  readonly service: Service;
  readonly name: string;
  readonly first: boolean;
}

function listProcesses(brokers: number): ProcessName[] {
  return SERVICES.flatMap(service =>
    Array.from({ length: service === 'broker' ? brokers : 1 }, (_, index) => ({
      service,
      name: index === 0 ? service : `${service}-${index + 1}`,
      first: index === 0,
    })),
  );
}

function allOf(processes: readonly ServiceProcess[], service: Service): ServiceProcess[] {
  return processes.filter(process => process.service === service);
}

function firstOf(processes: readonly ServiceProcess[], service: Service): ServiceProcess {
  return processes.find(process => process.service === service)!;
}

function pidsOf(processes: readonly ServiceProcess[], redis: number): ChildPids {
  return {
    broker: firstOf(processes, 'broker').pid,
    gateway: firstOf(processes, 'gateway').pid,
    dashboard: firstOf(processes, 'dashboard').pid,
    redis,
    brokers: allOf(processes, 'broker').map(({ pid }) => pid),
  };
}

async function stopAll(
  processes: readonly ServiceProcess[],
  privateRedis: PrivateRedis | undefined,
  urlOf: (process: ServiceProcess) => string,
): Promise<void> {
  const stopEach = (some: readonly ServiceProcess[]) => Promise.all(some.map(process => process.stop()));
  const brokers = allOf(processes, 'broker');
  await stopEach(processes.filter(process => process.service !== 'broker'));
  // Asked now: the lead may have changed since the start.
  const leads = brokers.length > 1 ? await Promise.all(brokers.map(urlOf).map(isLeading)) : [true];
  await stopEach(brokers.filter((_, index) => !leads[index]));
  await stopEach(brokers);
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

/** An address to connect to: "any address" is something to listen on only. */
function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
