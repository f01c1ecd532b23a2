import {
  explainReply,
  inspectDataDir,
  type MetricRegistry,
  newClientId,
  OnewriterError,
  RedisGuard,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { ClientMetrics } from './client-metrics.ts';
import { type ResolvedOptions, resolveOptions } from './options.ts';
import { type ChosenReads, chooseReads } from './read/choose-reads.ts';
import { CountedReads } from './read/counted-reads.ts';
import { OwnerReads } from './read/owner-reads.ts';
import type { Reads } from './read/reads.ts';
import { DataDirGuard } from './redis/data-dir-guard.ts';
import {
  connectRedis,
  createBlockingModel,
  createCommandConnection,
  logOutages,
  REDIS_TIMES,
} from './redis/redis-connection.ts';
import { GatewayReplica } from './replica/gateway-replica.ts';
import { BatchedJobStates } from './settle/batched-job-states.ts';
import { Inbox } from './settle/inbox.ts';
import { RedisJobStates } from './settle/job-states.ts';
import { Presence } from './settle/presence.ts';
import { type ClientContext, TenantClient } from './tenant.ts';
import type { ClientStats, CloseOptions, ConnectOptions, Onewriter, Tenant } from './types.ts';
import { dueAt, now, untilDue } from './waits.ts';
import { RedisSender } from './write/sender.ts';
import { WritePath } from './write/write-path.ts';
import { WriteTracer } from './write/write-tracer.ts';

/**
 * Connects to Onewriter.
 *
 * @throws OnewriterError INVALID_ARGUMENT (an option is wrong), MISCONFIGURED (no safe way to read, or Redis refuses
 *   the credentials, or the group belongs to another data directory), QUEUE_UNAVAILABLE (Redis does not answer)
 * @example
 * const onewriter = await connect({ redis: 'redis://127.0.0.1:6379', dataDir: '/data' });
 */
export async function connect(options: ConnectOptions): Promise<Onewriter> {
  const resolved = resolveOptions(options);
  const chosen = chooseReads(resolved);
  const guard = new RedisGuard(resolved.logger);
  const redis = createCommandConnection(resolved.redis, guard);
  try {
    await connectRedis(redis, guard, resolved.connectTimeoutMs);
    logOutages(redis, resolved.logger);
    return await open(resolved, chosen, redis, guard);
  } catch (error) {
    redis.disconnect();
    chosen.reads.close();
    throw asConnectError(error);
  }
}

const PING_TIMEOUT_MS = 1_000;
/** Redis is tidied up at a close until its deadline, but for this long at least and at most: what is left there expires. */
const MIN_CLEAN_UP_MS = 50;
const MAX_CLEAN_UP_MS = 1_000;

/** What BullMQ and ioredis throw while connections are made. */
function asConnectError(error: unknown): unknown {
  if (error instanceof OnewriterError) return error;
  const explained = explainReply(error);
  if (explained !== undefined) return explained;
  const message = error instanceof Error ? error.message : String(error);
  return new OnewriterError('QUEUE_UNAVAILABLE', `Cannot connect to Redis: ${message}`, {}, error);
}

async function open(
  options: ResolvedOptions,
  { reads: ways, owner: chosenOwner }: ChosenReads,
  redis: Redis,
  guard: RedisGuard,
): Promise<Onewriter> {
  const { group, logger, writeTimeoutMs } = options;
  const clientId = newClientId();
  const sender = new RedisSender(redis, group, logger, options);
  const states = new RedisJobStates(redis, group);
  const tracer = options.tracing ? new WriteTracer() : undefined;
  const metrics = new ClientMetrics();
  const dataDirGuard =
    // Also one that does not read them knows by them whether it is the right installation.
    ways.route !== 'gateway' &&
    options.dataDir !== undefined &&
    inspectDataDir(options.dataDir).kind !== 'absent'
      ? new DataDirGuard({ redis, group, dataDir: options.dataDir, logger })
      : undefined;
  await dataDirGuard?.start();
  const reads = new CountedReads(ways, metrics, dataDirGuard);
  const presence = new Presence(redis, group, clientId);
  const writes = new WritePath({
    clientId,
    sender,
    states,
    ledger: ways,
    logger,
    writeTimeoutMs,
    tracer,
    metrics,
    presence,
    guard: dataDirGuard,
  });
  const owner = chosenOwner ?? new OwnerReads({ ...options, timeoutMs: writeTimeoutMs });
  owner.use(writes);
  const inbox = new Inbox({
    group,
    clientId,
    redis,
    blockingModel: createBlockingModel(options.redis, guard),
    logger,
    onEvent: event => writes.settler.onEvent(event),
    onAnswered: ms => metrics.observe('settle', ms),
  });
  try {
    const ready = await untilDue(
      inbox.ready().then(() => true),
      now() + REDIS_TIMES.connectTimeoutMs,
    );
    if (ready === undefined) throw new Error(`no answer in ${REDIS_TIMES.connectTimeoutMs} ms`);
  } catch (error) {
    dataDirGuard?.close();
    await inbox.close();
    throw error;
  }
  const connections = { inbox, presence, redis, guard, dataDirGuard };
  const replica = new GatewayReplica({ ...options, timeoutMs: writeTimeoutMs });
  const context = { reads, owner, writes, replica, states: new BatchedJobStates(states), writeTimeoutMs };
  return new Client(clientId, context, connections);
}

/** What a client ends at its close. */
interface Connections {
  readonly inbox: Inbox;
  readonly presence: Presence;
  readonly redis: Redis;
  readonly guard: RedisGuard;
  readonly dataDirGuard: DataDirGuard | undefined;
}

class Client implements Onewriter {
  readonly clientId: string;
  readonly #context: ClientContext;
  readonly #inbox: Inbox;
  readonly #presence: Presence;
  readonly #redis: Redis;
  readonly #guard: RedisGuard;
  readonly #dataDirGuard: DataDirGuard | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    clientId: string,
    context: ClientContext,
    { inbox, presence, redis, guard, dataDirGuard }: Connections,
  ) {
    this.#dataDirGuard = dataDirGuard;
    this.clientId = clientId;
    this.#context = context;
    this.#inbox = inbox;
    this.#presence = presence;
    this.#redis = redis;
    this.#guard = guard;
  }

  get readRoute(): Reads['route'] {
    return this.#context.reads.route;
  }

  tenant(id: string): Tenant {
    return new TenantClient(this.#context, id);
  }

  stats(): ClientStats {
    const { writes, reads } = this.#context;
    return {
      bufferedWrites: writes.buffered,
      outstandingWrites: writes.settler.writes,
      outstandingJobs: writes.settler.jobs,
      heldBytes: writes.heldBytes,
      openReaders: reads.openReaders,
    };
  }

  exposeMetrics(registry: MetricRegistry): void {
    this.#context.writes.metrics.register(registry, () => this.stats());
  }

  async ping(options: CloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) throw new OnewriterError('CLOSED', 'The client is closed.');
    const { timeoutMs = PING_TIMEOUT_MS } = options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      await Promise.race([this.#redis.ping(), late]);
    } catch (error) {
      if (this.#guard.refusal !== undefined) throw this.#guard.refusal;
      const reason = error instanceof Error ? error.message : String(error);
      throw new OnewriterError('QUEUE_UNAVAILABLE', `Redis does not answer: ${reason}`, {}, error);
    } finally {
      clearTimeout(timer);
    }
  }

  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(options: CloseOptions): Promise<void> {
    const { writes, reads, replica, writeTimeoutMs } = this.#context;
    this.#dataDirGuard?.close();
    replica.close();
    if (options.timeoutMs !== 0) dueAt(options, writeTimeoutMs);
    const timeoutMs = options.timeoutMs ?? writeTimeoutMs;
    const due = now() + timeoutMs;
    await writes.close(timeoutMs);
    const cleanUpMs = Math.min(Math.max(due - now(), MIN_CLEAN_UP_MS), MAX_CLEAN_UP_MS);
    await untilDue(Promise.all([this.#presence.close(), this.#inbox.close()]), now() + cleanUpMs);
    reads.close();
    this.#redis.disconnect();
  }
}
