import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { groupKeys, type LeaseRecord, tenantQueue } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  createRandom,
  deriveSeed,
  freePort,
  type StartRedisOptions,
  startRedis,
  TEST_TOKEN_SECRET,
  type TestRedis,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { ClientProcess } from './client-process.ts';
import { type ClientSettings, USUAL_CLIENT } from './client-settings.ts';
import { FaultFailure } from './fault-failure.ts';
import { FaultProxy } from './fault-proxy.ts';
import { monotonicMs, type Way } from './journal.ts';
import { schemaOf } from './operation.ts';
import { StarvationWatch, type StarvedSpan } from './starvation.ts';
import { SupervisedProcess } from './supervised-process.ts';

/** The parties that talk to Redis; brokers are `broker-0`, `broker-1`, … */
export type Party = `broker-${number}` | 'gateway' | 'client';

/** What a fault runs against. */
export interface RigOptions {
  /** Default: 1. */
  readonly brokers?: number | undefined;
  /** Default: whether a client goes through it. */
  readonly gateway?: boolean | undefined;
  /** One client process each. Default: three that use the SDK. */
  readonly clients?: readonly ClientKind[] | undefined;
  /** Default: 10. */
  readonly tenants?: number | undefined;
  /** Default: AOF with `always`. */
  readonly redis?: StartRedisOptions | undefined;
  /** Default: a folder of the run's own. */
  readonly dataDir?: string | undefined;
  /** Parties that reach Redis through a proxy of their own; each broker has one, all clients share one. */
  readonly proxies?: readonly ('brokers' | 'gateway' | 'clients')[] | undefined;
  /** Whether the run's own client may open tenant files, which keeps a file system busy. Default: true. */
  readonly probeReads?: boolean | undefined;
  /** Longest time for what is left in the queues at the end. Default: {@link RECOVERY_MS}. */
  readonly emptyQueuesMs?: number | undefined;
  /** Further settings of all Onewriter processes. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Further settings of the brokers; asked before each start. */
  readonly brokerEnv?: ((start: number, broker: number) => Readonly<Record<string, string>>) | undefined;
}

export interface ClientKind
  extends Partial<Pick<ClientSettings, 'mix' | 'concurrency' | 'pauseMs' | 'timeoutMs' | 'reads'>> {
  readonly via?: Way | undefined;
}

/** Clients that wait so long that none may be left in doubt, however slow the machine is. */
export const PATIENT_CLIENTS: readonly ClientKind[] = [1, 2, 3].map(() => ({ timeoutMs: [30_000, 45_000] }));

/** A client whose deadlines pass during faults, to see whether they are kept. */
export const HASTY_CLIENT: ClientKind = { timeoutMs: [100, 3_000] };

/** Where a rig puts things, and what it draws from. */
export interface RigPlace {
  readonly folder: string;
  readonly seed: number;
  /** Path of the broker's main module. */
  readonly brokerMain: string;
}

const path = (relative: string) =>
  fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? relative : `../${relative}`, import.meta.url));

/** The broker as it is built. */
export const BROKER_MAIN = path('../../workers/broker/dist/main.js');
const GATEWAY_MAIN = path('../../apps/gateway/dist/main.js');

/** Time for the drain of a process at SIGTERM, and the grace period that it must keep. */
export const DRAIN_MS = 10_000;
const STOP_GRACE_MS = DRAIN_MS + 2_000;
/** After a fault is over, writes must be committed again within this. */
export const RECOVERY_MS = 20_000;
/** Receipts are asked for up to this at the end. */
const ASK_MS = 5_000;

/** Processes under test, their clients, and the files they leave. */
export class Rig {
  readonly redis: TestRedis;
  readonly dataDir: string;
  readonly journals: string;
  readonly tenants: readonly string[];
  /** In the order of their names. */
  readonly brokers: SupervisedProcess[] = [];
  readonly clients: ClientProcess[] = [];
  gateway: SupervisedProcess | undefined;
  #gatewayWatch: StarvationWatch | undefined;
  readonly proxies = new Map<Party, FaultProxy>();
  /** Connects to Redis directly. */
  readonly direct: Redis;
  readonly #place: RigPlace;
  readonly #options: RigOptions;
  readonly #kinds: readonly ClientKind[];
  #token = '';
  #gatewayPort = 0;
  #probe!: Onewriter;
  #clientStarts = 0;
  /** Commits of clients that are gone. */
  #committedBefore = 0;

  private constructor(place: RigPlace, options: RigOptions, redis: TestRedis) {
    this.#place = place;
    this.#options = options;
    this.redis = redis;
    this.dataDir = options.dataDir ?? join(place.folder, 'data');
    this.journals = join(place.folder, 'journals');
    this.tenants = Array.from({ length: options.tenants ?? 10 }, (_, index) => `t${index}`);
    this.#kinds = options.clients ?? [{}, {}, {}];
    this.direct = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    this.direct.on('error', () => {}); // it connects again
  }

  /** Starts everything; the clients write when this resolves. */
  static async start(place: RigPlace, options: RigOptions = {}): Promise<Rig> {
    const redis = await startRedis(options.redis ?? { appendonly: 'always' });
    const rig = new Rig(place, options, redis);
    try {
      await rig.#start();
      return rig;
    } catch (error) {
      await rig.destroy();
      throw error;
    }
  }

  /** The URL a party uses. */
  redisUrl(party: Party): string {
    return this.proxies.get(party)?.url ?? this.redis.url;
  }

  /** The broker that holds the lease. Waits for one. */
  async leader(timeoutMs = RECOVERY_MS): Promise<SupervisedProcess> {
    return waitFor(
      async () => {
        for (const broker of this.brokers) if (await isLeading(broker)) return broker;
        return undefined;
      },
      { timeoutMs, what: 'a broker that leads', intervalMs: 20 },
    );
  }

  /** Waits until this broker leads; the others may not even answer. */
  async untilLeads(broker: SupervisedProcess, timeoutMs = RECOVERY_MS): Promise<void> {
    await waitFor(() => isLeading(broker), { timeoutMs, what: `${broker.name} to lead`, intervalMs: 20 });
  }

  /** The epoch in the lease; 0 where no broker holds it. */
  async epoch(): Promise<number> {
    const record = await this.direct.get(groupKeys('default').lease);
    return record === null ? 0 : (JSON.parse(record) as LeaseRecord).epoch;
  }

  /** A write to every tenant (or to those given) is committed. @returns how long that took, in ms. */
  async awaitRecovery(tenants: readonly string[] = this.tenants, timeoutMs = RECOVERY_MS): Promise<number> {
    const startedAt = monotonicMs();
    await Promise.all(tenants.map(tenant => this.#write(tenant, startedAt + timeoutMs)));
    return monotonicMs() - startedAt;
  }

  /** A write to some tenant is committed. @returns how long that took, in ms. */
  async awaitAnyRecovery(timeoutMs = RECOVERY_MS): Promise<number> {
    const startedAt = monotonicMs();
    await Promise.any(this.tenants.map(tenant => this.#write(tenant, startedAt + timeoutMs)));
    return monotonicMs() - startedAt;
  }

  /** When the gateway waited for a CPU. */
  get gatewayStarved(): readonly StarvedSpan[] {
    return this.#gatewayWatch?.spans ?? [];
  }

  /** Lets its bearer do everything at the gateway. */
  get token(): string {
    return this.#token;
  }

  /** Environment of a command that a person runs. */
  commandEnvironment(): Record<string, string | undefined> {
    return this.#environment('client');
  }

  /** An SDK client of the run's own, beside the clients' processes. */
  get probe(): Onewriter {
    return this.#probe;
  }

  /** Starts client `index` again, under another name. */
  async restartClient(index: number): Promise<void> {
    this.#committedBefore += this.clients[index]!.committed;
    this.clients[index] = await this.#startClient(index);
  }

  /** @throws FaultFailure where a client ended unexpectedly. */
  assertClientsAlive(): void {
    for (const client of this.clients) client.assertAlive();
  }

  /** Writes acknowledged to clients, as of a moment ago; killed clients included. */
  get committed(): number {
    return this.#committedBefore + this.clients.reduce((sum, client) => sum + client.committed, 0);
  }

  /** Lets clients finish, waits until the queues are empty, and stops everything as an operator does. */
  async finish(): Promise<void> {
    const emptyMs = this.#options.emptyQueuesMs ?? RECOVERY_MS;
    const askMs = ASK_MS + emptyMs;
    await Promise.all(this.clients.map(client => client.finish(askMs, askMs + 60_000)));
    await this.#awaitEmptyQueues(emptyMs);
    await this.#probe.close();
    await this.gateway?.stop(STOP_GRACE_MS);
    for (const broker of this.brokers) await broker.stop(STOP_GRACE_MS);
  }

  /** Ends whatever is left. Idempotent. */
  async destroy(): Promise<void> {
    await Promise.all(this.clients.map(client => client.destroy()));
    await this.#probe?.close({ timeoutMs: 100 }).catch(() => {}); // no caller waits for its writes any more
    this.#gatewayWatch?.stop();
    await this.gateway?.destroy();
    for (const broker of this.brokers) await broker.destroy();
    this.direct.disconnect();
    for (const proxy of this.proxies.values()) await proxy.stop();
    this.redis.kill('SIGCONT');
    await this.redis.stop();
  }

  async #start(): Promise<void> {
    mkdirSync(join(this.#place.folder, 'logs'), { recursive: true });
    mkdirSync(this.dataDir, { recursive: true });
    for (const party of this.#proxiedParties()) {
      this.proxies.set(party, await FaultProxy.start(this.redis.port));
    }
    this.#token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
    const brokers = Array.from({ length: this.#options.brokers ?? 1 }, (_, index) =>
      this.#startBroker(index),
    );
    const needsGateway = this.#options.gateway ?? this.#kinds.some(({ via }) => via === 'gateway');
    await Promise.all([...brokers, needsGateway && this.#startGateway()]);
    this.#probe = await connect({
      redis: this.redis.url,
      dataDir: this.#options.probeReads === false ? undefined : this.dataDir,
    });
    await Promise.all(
      this.tenants.map(async tenant => {
        await this.#probe.tenant(tenant).exec(`${schemaOf(tenant)}CREATE TABLE probe(at REAL);`);
      }),
    );
    this.clients.push(...(await Promise.all(this.#kinds.map((_, index) => this.#startClient(index)))));
  }

  #proxiedParties(): Party[] {
    const { proxies = [], brokers = 1 } = this.#options;
    return [
      ...(proxies.includes('brokers')
        ? Array.from({ length: brokers }, (_, i) => `broker-${i}` as const)
        : []),
      ...(proxies.includes('gateway') ? (['gateway'] as const) : []),
      ...(proxies.includes('clients') ? (['client'] as const) : []),
    ];
  }

  #environment(party: Party): Record<string, string | undefined> {
    return {
      ...withoutSettings(),
      ONEWRITER_REDIS_URL: this.redisUrl(party),
      ONEWRITER_DATA_DIR: this.dataDir,
      ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
      ONEWRITER_DRAIN_MS: String(DRAIN_MS),
      ONEWRITER_BROKER_PORT: '0',
      ONEWRITER_GATEWAY_PORT: String(this.#gatewayPort),
      ...this.#options.env,
    };
  }

  #logFile(name: string): string {
    return join(this.#place.folder, 'logs', `${name}.log`);
  }

  async #startBroker(index: number): Promise<void> {
    const name = `broker-${index}` as const;
    const broker: SupervisedProcess = new SupervisedProcess(name, () => ({
      name,
      main: this.#place.brokerMain,
      env: { ...this.#environment(name), ...this.#options.brokerEnv?.(broker.starts, index) },
      logFile: this.#logFile(name),
    }));
    this.brokers.push(broker);
    await broker.start();
  }

  async #startGateway(): Promise<void> {
    // The same port whenever it is started again: callers know it.
    this.#gatewayPort = await freePort();
    this.gateway = new SupervisedProcess('gateway', () => ({
      name: 'gateway',
      main: GATEWAY_MAIN,
      env: this.#environment('gateway'),
      logFile: this.#logFile('gateway'),
    }));
    await this.gateway.start();
    this.#gatewayWatch = new StarvationWatch(() => this.gateway?.pid);
  }

  async #startClient(index: number): Promise<ClientProcess> {
    const client = `c${index}-${++this.#clientStarts}`;
    const { via = 'sdk', ...rest } = this.#kinds[index]!;
    const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    return ClientProcess.start(
      {
        ...USUAL_CLIENT,
        ...given,
        client,
        via,
        journal: join(this.journals, `${client}.jsonl`),
        seed: deriveSeed(this.#place.seed, client),
        tenants: this.tenants,
        redisUrl: this.redisUrl('client'),
        dataDir: this.dataDir,
        gatewayUrl: this.gateway === undefined ? '' : `http://127.0.0.1:${this.#gatewayPort}`,
        token: this.#token,
      },
      this.#logFile(client),
    );
  }

  /** Tries until one write of the rig is committed. */
  async #write(tenant: string, due: number): Promise<void> {
    let last: unknown;
    while (monotonicMs() < due) {
      try {
        const timeoutMs = Math.max(1, Math.min(2_000, Math.ceil(due - monotonicMs())));
        await this.#probe
          .tenant(tenant)
          .prepare('INSERT INTO probe VALUES (?)', { timeoutMs })
          .run(monotonicMs());
        return;
      } catch (error) {
        last = error;
        await pause(50);
      }
    }
    throw new FaultFailure(`Tenant ${tenant} takes no writes after the fault: ${String(last)}`);
  }

  /** Whatever was accepted is applied, also what no caller waits for. */
  async #awaitEmptyQueues(timeoutMs: number): Promise<void> {
    let left = '';
    try {
      await waitFor(
        async () => {
          left = await this.#describeQueues();
          return left === '';
        },
        { timeoutMs, what: 'empty queues', intervalMs: 50 },
      );
    } catch {
      throw new FaultFailure(`Jobs are left in the queues ${timeoutMs} ms after the last write: ${left}`);
    }
  }

  async #describeQueues(): Promise<string> {
    const left: string[] = [];
    for (const tenant of this.tenants) {
      const { name, prefix } = tenantQueue('default', tenant);
      for (const list of ['wait', 'active', 'paused']) {
        const length = await this.direct.llen(`${prefix}:${name}:${list}`);
        if (length > 0) left.push(`${tenant}: ${length} ${list}`);
      }
    }
    return left.join(', ');
  }

  /** Adds a line to the run's own log. */
  note(text: string): void {
    appendFileSync(this.#logFile('faults'), `${monotonicMs()} ${text}\n`);
  }

  /** Draws from the rig's seed. */
  random(label: string) {
    return createRandom(deriveSeed(this.#place.seed, label));
  }
}

async function isLeading(broker: SupervisedProcess): Promise<boolean> {
  if (broker.current?.ready === undefined) return false;
  try {
    const response = await fetch(`${broker.url}/readyz`, { signal: AbortSignal.timeout(500) });
    return ((await response.json()) as { state?: string }).state === 'leading';
  } catch {
    return false; // stopped, or just killed
  }
}
