import { OnewriterError } from '@onewriter/protocol';
import { type Config, environmentName, findSettingProblem, loadConfig } from '@onewriter/runtime';
import { useColour } from '../colour.ts';
import { createUpLog } from '../up/log.ts';
import { describeReady, readyEvent } from '../up/ready-message.ts';
import { runStack, type Stack } from '../up/run-stack.ts';
import type { Service } from '../up/services.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter up`, as the command line gives them. */
export interface UpOptions {
  readonly dataDir?: string | undefined;
  readonly redisUrl?: string | undefined;
  readonly gatewayPort?: string | undefined;
  readonly dashboardPort?: string | undefined;
  readonly threads?: string | undefined;
  readonly brokers?: string | undefined;
  readonly showToken?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/**
 * npm forwards the Ctrl-C that the terminal has sent to the whole process group anyway, so one key arrives twice:
 * a second signal counts as a second key only after this.
 */
const SECOND_SIGNAL_AFTER_MS = 500;

/** Runs everything until a signal; resolves to the exit code. */
export async function up(options: UpOptions): Promise<number> {
  const environment = applyOptions(process.env, options);
  const config = loadConfig(environment);
  const brokers = parseBrokers(options.brokers);
  const colour = useColour(process.stderr);
  const writeLine = (text: string) => void process.stderr.write(text);
  const log = createUpLog(writeLine, colour);
  // The reader of the log may end (`npm start 2>&1 | head`); the processes keep running.
  process.stderr.on('error', () => {});

  const starting = new AbortController();
  let stack: Stack | undefined;
  let firstSignalAt: number | undefined;
  let onGivenUp: (error: Error) => void = () => {};
  const stopped = new Promise<number>(resolve => {
    onGivenUp = error => {
      // A signal, or another process, was first.
      if (firstSignalAt !== undefined) return;
      firstSignalAt = performance.now();
      log('error', `${error.message} Draining: the stack cannot work without it.`);
      starting.abort(error);
      stack?.stop().then(
        () => resolve(1),
        failure => {
          log('error', `draining failed: ${(failure as Error).message}`);
          resolve(1);
        },
      );
    };
    const onSignal = (signal: NodeJS.Signals) => {
      const now = performance.now();
      if (firstSignalAt === undefined) {
        firstSignalAt = now;
        log('info', `${signal}: draining; once more to end at once`);
        starting.abort(new OnewriterError('CLOSED', `Stopped by ${signal} before it was ready.`));
        stack?.stop().then(
          () => resolve(0),
          error => {
            log('error', `draining failed: ${(error as Error).message}`);
            resolve(1);
          },
        );
      } else if (now - firstSignalAt > SECOND_SIGNAL_AFTER_MS) {
        log('warn', 'ending at once');
        stack?.kill();
        resolve(1);
      }
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  });

  try {
    stack = await runStack(
      {
        config,
        brokers,
        redisUrl: environment['ONEWRITER_REDIS_URL'] || undefined,
        explicitPorts: explicitPorts(environment),
        onGivenUp: error => onGivenUp(error),
        log,
        writeLine,
        colour,
      },
      starting.signal,
    );
  } catch (error) {
    // What failed because it was being stopped is not a failure of its own.
    if (starting.signal.aborted) throw starting.signal.reason;
    throw error;
  }
  const showToken = options.showToken === true || process.stdout.isTTY === true;
  process.stdout.write(
    options.json ? `${JSON.stringify(readyEvent(stack))}\n` : describeReady(stack, showToken),
  );
  return stopped;
}

/** More than one standby helps only where several processes fail at once. */
const MAX_BROKERS = 4;

/** @throws OnewriterError INVALID_ARGUMENT */
export function parseBrokers(text: string | undefined): number {
  const count = text === undefined ? 1 : /^\d$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MAX_BROKERS) return count;
  throw new UsageError(`--brokers is a number from 1 to ${MAX_BROKERS}.`);
}

/** Options win over the environment, which wins over the defaults. @throws UsageError naming the option */
export function applyOptions(environment: NodeJS.ProcessEnv, options: UpOptions): NodeJS.ProcessEnv {
  const result = { ...environment };
  const set = (option: string, key: keyof Config, value: string | undefined) => {
    if (value === undefined) return;
    // An empty variable is the default; an empty option is a mistake, of a script for example.
    const problem = value === '' ? 'it is empty' : findSettingProblem(key, value);
    if (problem !== undefined) throw new UsageError(`${option}: ${problem}`);
    result[environmentName(key)] = value;
  };
  set('--data-dir', 'dataDir', options.dataDir);
  set('--redis-url', 'redisUrl', options.redisUrl);
  set('--gateway-port', 'gatewayPort', options.gatewayPort);
  set('--dashboard-port', 'dashboardPort', options.dashboardPort);
  set('--threads', 'threads', options.threads);
  return result;
}

function explicitPorts(environment: NodeJS.ProcessEnv): Set<Service> {
  const services = ['gateway', 'dashboard', 'broker'] as const;
  return new Set(services.filter(service => environment[`ONEWRITER_${service.toUpperCase()}_PORT`]));
}
