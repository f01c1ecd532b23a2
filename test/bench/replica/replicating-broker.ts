import { connect, type Onewriter } from '@onewriter/sdk';
import { startS3Process, type TestS3 } from '@onewriter/testkit';
import { Environment, type EnvironmentOptions } from '../environment.ts';
import { cpuSecondsOfThreads } from '../measure/thread-usage.ts';
import type { ReplicaKind } from './replica-loads.ts';

/** Changes nothing that the check of a load counts. */
const TOUCH = 'UPDATE item SET owner = owner WHERE id = 1';

type Store = TestS3 & { readonly process: { readonly pid: number } };

/** A broker with a Redis, files and, where it has one, a store of its own. */
export class ReplicatingBroker implements AsyncDisposable {
  readonly kind: ReplicaKind;
  readonly environment: Environment;
  readonly #s3: Store | undefined;
  readonly #broker: { readonly pid: number; readonly url: string };
  readonly #redisPid: number;
  #client: Onewriter | undefined;

  private constructor(
    kind: ReplicaKind,
    environment: Environment,
    s3: Store | undefined,
    broker: { readonly pid: number; readonly url: string },
    redisPid: number,
  ) {
    this.kind = kind;
    this.environment = environment;
    this.#s3 = s3;
    this.#broker = broker;
    this.#redisPid = redisPid;
  }

  static async start(kind: ReplicaKind, options: EnvironmentOptions): Promise<ReplicatingBroker> {
    const environment = new Environment(options);
    const s3 = kind === 'async' || kind === 'sync' ? await startS3Process() : undefined;
    try {
      const url = s3?.url ?? (kind === 'folder' && `file://${await environment.folder('replica')}`);
      const settings = {
        ...s3?.env,
        ...(url && {
          ONEWRITER_REPLICA_URL: url,
          ONEWRITER_REPLICA_MODE: kind === 'sync' ? 'sync' : 'async',
        }),
        // Once a day, and not what is measured.
        ONEWRITER_REPLICA_REHEARSALS: 'false',
      };
      const broker = await environment.broker(settings);
      const redis = await environment.redis('onewriter');
      return new ReplicatingBroker(kind, environment, s3, broker, redis.pid());
    } catch (error) {
      await s3?.stop();
      await environment[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** CPU seconds by thread of the broker, and by process; the load is not in it. */
  cpuSeconds(): ReadonlyMap<string, number> {
    const seconds = new Map(cpuSecondsOfThreads(this.#broker.pid));
    const pids = { redis: this.#redisPid, store: this.#s3?.process.pid };
    for (const [role, pid] of Object.entries(pids)) {
      if (pid !== undefined)
        seconds.set(
          role,
          [...cpuSecondsOfThreads(pid).values()].reduce((a, b) => a + b),
        );
    }
    return seconds;
  }

  /** Resolves when all commits of a tenant are stored, so that its turn is over for the machine, too. */
  async untilStored(tenant: string): Promise<void> {
    if (this.kind === 'off') return;
    this.#client ??= await connect({ redis: (await this.environment.redis('onewriter')).url });
    await this.#client.tenant(tenant).prepare(TOUCH, { durable: 'replica' }).run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.close();
    await this.environment[Symbol.asyncDispose]();
    await this.#s3?.stop();
  }
}
