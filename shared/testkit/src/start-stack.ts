import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  isAlive,
  type ProcessExit,
  type SpawnedProcess,
  spawnProcess,
  waitForExit,
  withoutSettings,
} from './spawn-process.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { waitFor } from './wait-for.ts';

/** Process ids of a stack's children; `redis` is 0 where the Redis is not the stack's own. */
export interface StackPids {
  /** Process id of the first broker. */
  readonly broker: number;
  readonly gateway: number;
  readonly dashboard: number;
  readonly redis: number;
  /** Process ids of all brokers, the first included. */
  readonly brokers: readonly number[];
}

/** Options of {@link startStack}. */
export interface StartStackOptions {
  /** Default: a temporary one, deleted by `stop`. */
  readonly dataDir?: string | undefined;
  /** Default: a private Redis in the data directory. */
  readonly redisUrl?: string | undefined;
  /** Further arguments of `onewriter up`. */
  readonly args?: readonly string[] | undefined;
  /** Settings of all processes, for example `{ ONEWRITER_LEASE_MS: '500' }`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** `ulimit -n` of all processes. */
  readonly maxDescriptors?: number | undefined;
  /** Default: 60,000. */
  readonly startTimeoutMs?: number | undefined;
}

/** A running Onewriter, as `npm start` runs it, on ports of its own. */
export interface Stack extends AsyncDisposable {
  readonly gatewayUrl: string;
  readonly dashboardUrl: string;
  readonly redisUrl: string;
  readonly dataDir: string;
  /** A token for all tenants, with access `admin`. */
  readonly token: string;
  /** In the order of `pids.brokers`. */
  readonly brokerUrls: readonly string[];
  /** As they were when all were ready. */
  readonly pids: StackPids;
  /** As they are now: they change when a process is restarted. */
  currentPids(): StackPids;
  /** `onewriter up` itself. */
  readonly up: SpawnedProcess;
  /** What all processes printed on standard error. */
  logs(): string;
  /** SIGTERM to `onewriter up`; resolves to how it ended, when all children are gone. Idempotent. */
  stop(): Promise<ProcessExit>;
  /** kill -9 of every process at once, as a power failure does. The data directory stays until `stop`. */
  kill(): Promise<void>;
}

/** Path of the built command line. */
export const CLI_MAIN = fileURLToPath(new URL('../../../apps/cli/dist/main.js', import.meta.url));

/** Longer than the processes' own drain periods: what is left then is killed. */
const STOP_TIMEOUT_MS = 45_000;

/**
 * Starts Redis, broker, gateway and dashboard with `onewriter up --json`; all serve when this resolves.
 * @throws Error with the log if they are not ready in time.
 */
export async function startStack(options: StartStackOptions = {}): Promise<Stack> {
  const temporary = options.dataDir === undefined ? await temporaryDirectory('stack') : undefined;
  const dataDir = options.dataDir ?? temporary!.path;
  let up: SpawnedProcess | undefined;
  try {
    const command = [process.execPath, CLI_MAIN, ...upArguments(dataDir, options)];
    const { maxDescriptors } = options;
    // $0 is the limit, and what follows the command.
    const limited = maxDescriptors && ['bash', '-c', 'ulimit -n "$0"; exec "$@"', String(maxDescriptors)];
    const [program, ...args] = limited ? [...limited, ...command] : command;
    up = await spawnProcess(program!, args, {
      env: { ...withoutSettings(), ...options.env },
    });
    const stack = createStack(up, await readReadyEvent(up, options.startTimeoutMs ?? 60_000));
    const stop = async () => {
      const exit = await stack.stop();
      await temporary?.remove();
      return exit;
    };
    return { ...stack, stop, [Symbol.asyncDispose]: async () => void (await stop()) };
  } catch (error) {
    await up?.stop(STOP_TIMEOUT_MS);
    await temporary?.remove();
    throw error;
  }
}

function upArguments(dataDir: string, options: StartStackOptions): string[] {
  return [
    'up',
    '--json',
    ...['--data-dir', dataDir, '--gateway-port', '0', '--dashboard-port', '0'],
    ...(options.redisUrl === undefined ? [] : ['--redis-url', options.redisUrl]),
    ...(options.args ?? []),
  ];
}

type ReadyEvent = Pick<
  Stack,
  'gatewayUrl' | 'dashboardUrl' | 'redisUrl' | 'dataDir' | 'token' | 'brokerUrls' | 'pids'
>;

async function readReadyEvent(up: SpawnedProcess, timeoutMs: number): Promise<ReadyEvent> {
  const hasEnded = () => up.child.exitCode !== null || up.child.signalCode !== null;
  try {
    await waitFor(() => up.stdout().includes('\n') || hasEnded(), { timeoutMs, what: 'the ready line' });
  } catch (cause) {
    throw new Error(`The stack is not ready:\n${up.logs()}`, { cause });
  }
  if (hasEnded()) throw new Error(`onewriter up ended at once:\n${up.logs()}`);
  return JSON.parse(up.stdout()) as ReadyEvent;
}

function createStack(up: SpawnedProcess, ready: ReadyEvent) {
  const currentPids = (): StackPids => {
    const run = JSON.parse(readFileSync(join(ready.dataDir, 'onewriter.json'), 'utf8')) as {
      pids: StackPids;
    };
    return run.pids;
  };
  return {
    ...ready,
    up,
    currentPids,
    logs: up.stderr,
    stop: () => up.stop(STOP_TIMEOUT_MS),
    kill: async () => {
      // `up` first: it would start the others again.
      const pids = Object.values(currentPids())
        .flat()
        .filter(pid => pid > 0 && isAlive(pid));
      up.kill('SIGKILL');
      await up.exited;
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // it has ended in the meantime
        }
      }
      await Promise.all(pids.map(pid => waitForExit(pid)));
    },
  };
}
