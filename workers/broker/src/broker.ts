import {
  assertNoEviction,
  type Config,
  checkDataDir,
  type Logger,
  type ReadinessCheck,
  type Successor,
} from '@onewriter/runtime';
import { LaneThread } from './lanes/lane-thread.ts';
import { DataDirClaim } from './leader/data-dir-claim.ts';
import { Leader } from './leader/leader.ts';
import { Lease } from './leader/lease.ts';
import { SecondRedis } from './leader/second-redis.ts';
import { BrokerMetrics } from './observe/broker-metrics.ts';
import type { BrokerState, HealthSource } from './observe/health.ts';
import { BrokerPresence } from './observe/status/broker-presence.ts';
import type { BrokerMetricsSource } from './observe/status-metrics.ts';
import { RedisLink } from './queue/redis-link.ts';

/*
 *   starting ──Redis is fit──▶ standby ──lease──▶ leading ──SIGTERM──▶ draining
 *                                                   │
 *                                                   └── lease lost, fenced, internal error: the process exits, its
 *                                                       supervisor starts it again as a standby
 */

/** How long the threads may finish their work when the process ends without a drain. */
const HALT_GRACE_MS = 1_000;
/** A standby looks at the lease every 100 ms; a busy machine may be late. */
const MIN_LOOK_LIMIT_MS = 2_000;

/** One broker process: stands by until it leads, and leads until it is stopped or has to stop. */
export class Broker implements HealthSource {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #successor: Successor;
  readonly #link: RedisLink;
  readonly #notificationLink: RedisLink;
  readonly #lease: Lease;
  readonly #claim: DataDirClaim;
  readonly #secondRedis: SecondRedis;
  readonly #metrics: BrokerMetrics;
  readonly #presence: BrokerPresence;
  readonly #stopping = new AbortController();
  #state: BrokerState = 'starting';
  #leader: Leader | undefined;
  /** Started on standby, used by the first leader. */
  #threads: readonly LaneThread[] = [];

  constructor(config: Config, log: Logger, successor: Successor) {
    this.#config = config;
    this.#log = log;
    this.#successor = successor;
    const url = config.redisUrl;
    this.#link = new RedisLink({ url, log, name: 'onewriter-broker' });
    this.#notificationLink = new RedisLink({ url, log, name: 'onewriter-broker-notifications' });
    this.#claim = new DataDirClaim(this.#link, config.group, config.dataDir);
    const { group, dataDir } = config;
    this.#secondRedis = new SecondRedis({ link: this.#link, group, dataDir, redisUrl: url, log });
    this.#lease = new Lease(this.#link, {
      group: config.group,
      dataDir: config.dataDir,
      leaseMs: config.leaseMs,
      log,
      claim: this.#claim,
      secondRedis: this.#secondRedis,
    });
    this.#metrics = new BrokerMetrics(this.#metricsSource());
    const state = () => this.#state;
    this.#presence = new BrokerPresence(this.#link, config.group, this.#lease.broker, state, log);
  }

  #metricsSource(): BrokerMetricsSource {
    const broker = this;
    return {
      group: this.#config.group,
      get leading() {
        return broker.#state === 'leading' && broker.#lease.held;
      },
      get epoch() {
        return broker.#lease.epoch;
      },
      get redis() {
        return broker.#link.redis.status === 'ready';
      },
      get leaseLeftSeconds() {
        return broker.#lease.leftMs / 1_000;
      },
      get status() {
        return broker.#state === 'leading' ? broker.#leader?.status : undefined;
      },
    };
  }

  get state(): BrokerState {
    return this.#state;
  }

  readonly checks: Readonly<Record<string, ReadinessCheck>> = {
    state: () =>
      this.#state === 'leading' || this.#state === 'standby' ? undefined : `The broker is ${this.#state}.`,
    redis: () => this.#link.trouble ?? this.#notificationLink.trouble,
    lease: () => this.#checkLease(),
    secondRedis: () => this.#secondRedis.finding,
    dataDir: () => checkDataDir(this.#config.dataDir, 'write'),
  };

  get facts() {
    return this.#leader === undefined ? undefined : { ...this.#leader.facts() };
  }

  get registry() {
    return this.#metrics.registry;
  }

  /** Announces this process from now on. @param port where it answers probes. */
  announce(port: number): void {
    this.#presence.start(port);
  }

  /** A leader has to renew the lease, a standby to see it; a half-open connection shows here first. */
  #checkLease(): string | undefined {
    if (this.#state === 'leading') {
      return this.#lease.held ? undefined : 'The lease could not be renewed in time: no work begins.';
    }
    if (this.#state !== 'standby') return undefined;
    const silentMs = performance.now() - this.#lease.answeredAt;
    const limitMs = Math.max(this.#config.leaseMs, MIN_LOOK_LIMIT_MS);
    return silentMs < limitMs
      ? undefined
      : `The lease could not be read for ${Math.round(silentMs / 100) / 10} s.`;
  }

  /** Waits for Redis. @throws OnewriterError MISCONFIGURED where it may evict keys, or the group is another directory's. */
  async prepare(): Promise<void> {
    await this.#link.retryUntilDone(() => assertNoEviction(this.#link.redis));
    await this.#link.retryUntilDone(() => this.#claim.claim());
    // Threads take longer to start than a standby to become the leader.
    this.#threads = Array.from({ length: this.#config.threads }, () => new LaneThread());
    this.#state = 'standby';
  }

  /** Stands by, then leads. Resolves when it leads, or was stopped before. */
  async run(): Promise<void> {
    const { signal } = this.#stopping;
    if (!(await this.#lease.acquire(signal)) || signal.aborted) return;
    this.#lease.keep(reason => void this.#end(reason));
    this.#leader = new Leader({
      config: this.#config,
      log: this.#log,
      link: this.#link,
      notificationLink: this.#notificationLink,
      lease: this.#lease,
      claim: this.#claim,
      metrics: this.#metrics,
      successor: this.#successor,
      threads: this.#threads,
      onEnd: reason => void this.#end(reason),
    });
    this.#state = 'leading';
    void this.#presence.announce();
    this.#log.info({ epoch: this.#lease.epoch, threads: this.#config.threads }, 'Leading');
    await this.#leader.start();
  }

  /**
   * Finishes what was begun and hands the rest over.
   * @returns false where the process has to be ended by a signal, because its end would wait for a thread.
   */
  async drain(): Promise<boolean> {
    this.#state = 'draining';
    this.#stopping.abort();
    const atRest = (await this.#leader?.drain(this.#config.drainMs)) ?? true;
    await this.#lease.release().catch(error => {
      this.#log.warn({ err: error }, 'Could not release the lease; it will expire');
    });
    this.#secondRedis.noteEnd();
    await this.#presence.stop();
    // Pending calls to Redis must not end the process in another way.
    if (!atRest) return false;
    this.#notificationLink.close();
    this.#link.close();
    return true;
  }

  /** Ends the process without answering callers: its successor answers them. */
  async #end(reason: string): Promise<void> {
    if (this.#stopping.signal.aborted) {
      // It was leaving anyway; the fence keeps its unfinished work apart from the successor's.
      this.#log.warn({ reason, epoch: this.#lease.epoch }, 'Lost the lead while draining');
      return;
    }
    this.#state = 'draining';
    this.#log.fatal({ reason, epoch: this.#lease.epoch }, `This broker stops leading: ${reason}`);
    const atRest = (await this.#leader?.halt(HALT_GRACE_MS)) ?? true;
    this.#secondRedis.noteEnd();
    // process.exit() would wait for a thread that is at work.
    if (!atRest) process.kill(process.pid, 'SIGKILL');
    process.exit(1);
  }
}
