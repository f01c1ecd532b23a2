import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Service,
  type StartRedisOptions,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';

/** How {@link startServices} starts them. */
export interface ServicesOptions {
  readonly redis?: StartRedisOptions | undefined;
  readonly gatewayEnv?: Readonly<Record<string, string>> | undefined;
}

/** Redis, a broker and a client of the SDK, on a folder of their own: what a file of tests shares. */
export interface Services {
  readonly redis: TestRedis;
  readonly data: TemporaryDirectory;
  readonly broker: Service;
  readonly client: Onewriter;
  stop(): Promise<void>;
}

/** {@link Services} with a gateway. */
export interface GatewayServices extends Services {
  readonly gateway: Service;
  /** For all tenants, access `admin`. */
  readonly token: string;
  /** A client that reads through the gateway. */
  readonly remote: Onewriter;
}

/** Starts them; what was started ends where a later one fails. */
export async function startServices(label: string, options: ServicesOptions = {}): Promise<Services> {
  const started = new Started();
  try {
    return await startWithoutGateway(label, options, started);
  } catch (error) {
    await started.stop();
    throw error;
  }
}

/** {@link startServices} with a gateway, ready for writes. */
export async function startGatewayServices(
  label: string,
  options: ServicesOptions = {},
): Promise<GatewayServices> {
  const started = new Started();
  try {
    const services = await startWithoutGateway(label, options, started);
    const { redis, data } = services;
    const env = options.gatewayEnv ?? {};
    const gateway = await startService('gateway', { redisUrl: redis.url, dataDir: data.path, env });
    started.add(() => gateway.stop());
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
    const remote = await connect({ redis: redis.url, gatewayUrl: gateway.url, token });
    started.add(() => remote.close());
    await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
      what: 'a leading broker',
    });
    return { ...services, gateway, token, remote };
  } catch (error) {
    await started.stop();
    throw error;
  }
}

async function startWithoutGateway(
  label: string,
  options: ServicesOptions,
  started: Started,
): Promise<Services> {
  const redis = await startRedis(options.redis);
  started.add(() => redis.stop());
  const data = await temporaryDirectory(label);
  started.add(() => data.remove());
  const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
  started.add(() => broker.stop());
  const client = await connect({ redis: redis.url, dataDir: data.path });
  started.add(() => client.close());
  return { redis, data, broker, client, stop: () => started.stop() };
}

/** What runs, and how it ends: the last that was started first. */
class Started {
  readonly #ends: (() => Promise<unknown>)[] = [];

  add(end: () => Promise<unknown>): void {
    this.#ends.push(end);
  }

  async stop(): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) await end();
  }
}
