import { fileURLToPath } from 'node:url';
import { type SpawnedProcess, spawnProcess, withoutSettings } from './spawn-process.ts';
import { waitFor } from './wait-for.ts';

/** Onewriter processes that can run alone. */
export type ServiceName = 'broker' | 'gateway' | 'dashboard';

const ENTRIES: Readonly<Record<ServiceName, string>> = {
  broker: '../../../workers/broker/dist/main.js',
  gateway: '../../../apps/gateway/dist/main.js',
  dashboard: '../../../apps/dashboard/dist/main.js',
};

/** Options of {@link startService}. */
export interface StartServiceOptions {
  readonly redisUrl: string;
  readonly dataDir: string;
  /** Default: `testkit-secret-testkit-secret`. */
  readonly tokenSecret?: string | undefined;
  /** Further settings, for example `{ ONEWRITER_LEASE_MS: '500' }`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Default: 30,000. */
  readonly startTimeoutMs?: number | undefined;
}

/** A service that serves. `stop` is SIGTERM and the wait for its drain. */
export interface Service extends SpawnedProcess {
  readonly port: number;
  readonly url: string;
}

/** Signs the tokens of services that {@link startService} starts. */
export const TEST_TOKEN_SECRET = 'testkit-secret-testkit-secret';

/**
 * Starts one service alone, on a free port; it serves when this resolves. (A standby broker serves, too: it waits
 * for the lease.)
 * @throws Error with its log if it is not ready in time.
 */
export async function startService(name: ServiceName, options: StartServiceOptions): Promise<Service> {
  const service = await spawnProcess(
    process.execPath,
    [fileURLToPath(new URL(ENTRIES[name], import.meta.url))],
    {
      ipc: true,
      env: {
        ...withoutSettings(),
        ONEWRITER_REDIS_URL: options.redisUrl,
        ONEWRITER_DATA_DIR: options.dataDir,
        ONEWRITER_TOKEN_SECRET: options.tokenSecret ?? TEST_TOKEN_SECRET,
        ONEWRITER_BROKER_PORT: '0',
        ONEWRITER_GATEWAY_PORT: '0',
        ONEWRITER_DASHBOARD_PORT: '0',
        ...options.env,
      },
    },
  );
  const hasEnded = () => service.child.exitCode !== null || service.child.signalCode !== null;
  const findReady = () =>
    service.messages.find((message): message is { type: 'ready'; port: number } => {
      return (message as { type?: unknown }).type === 'ready';
    });
  try {
    await waitFor(() => findReady() !== undefined || hasEnded(), {
      timeoutMs: options.startTimeoutMs ?? 30_000,
      what: `the ${name} to be ready`,
    });
    const ready = findReady();
    if (ready === undefined) throw new Error(`The ${name} ended at once.`);
    return { ...service, port: ready.port, url: `http://127.0.0.1:${ready.port}` };
  } catch (cause) {
    await service.stop();
    throw new Error(`The ${name} did not start:\n${service.logs()}`, { cause });
  }
}
