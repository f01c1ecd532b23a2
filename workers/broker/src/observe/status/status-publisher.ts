import {
  type BrokerStatus,
  groupKeys,
  STATUS_EVERY_MS,
  STATUS_TTL_MS,
  STATUS_VERSION,
  type StatusApart,
  type StatusHibernation,
  type StatusLane,
  type StatusLeader,
  type StatusReplica,
  type StatusTransactions,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { Lane } from '../../lanes/lane.ts';
import type { WalWatch } from '../../lanes/wal-watch.ts';
import type { RedisLink } from '../../queue/redis-link.ts';
import type { Parked } from '../../tenant/parked.ts';
import type { BrokerMetrics } from '../broker-metrics.ts';
import { readMemoryUsage } from '../memory-usage.ts';
import { EventLoopDelay } from './event-loop-delay.ts';
import { setStatus } from './publish-scripts.ts';
import { RateWindow } from './rate-window.ts';
import type { SlowFactsWatch } from './slow-facts.ts';
import { StatusHistoryLog } from './status-history.ts';
import type { TenantLoads } from './tenant-load.ts';

/** Sources of the leader's status. */
export interface StatusSources {
  readonly metrics: BrokerMetrics;
  readonly loads: TenantLoads;
  readonly slowFacts: SlowFactsWatch;
  readonly walWatch: WalWatch;
  readonly parked: Parked;
  readonly leader: () => StatusLeader;
  /** Lanes from index `threads` on are spare. */
  readonly lanes: () => readonly Lane[];
  /** Of the process apart. */
  readonly apart: () => StatusApart;
  readonly threads: number;
  /** Bound of the permanent lanes, together. */
  readonly maxOpenTenants: number;
  readonly threadRestarts: () => number;
  /** Tenants that have a session. */
  readonly sessions: () => number;
  /** Jobs in queues that no session fetches from: their tenants are paused. */
  readonly idleJobs: () => number;
  readonly transactions: () => StatusTransactions;
  readonly replica: () => StatusReplica | undefined;
  readonly hibernation: () => Omit<StatusHibernation, 'tenants'>;
}

/** Looks of the rates and quantiles: 10 s. */
const WINDOW_LOOKS = 10;
const MAX_PARKED = 50;

/** Makes the leader's status every second, and publishes it for people's tools. */
export class StatusPublisher {
  readonly #sources: StatusSources;
  readonly #link: RedisLink;
  readonly #key: string;
  readonly #log: Logger;
  readonly #rates: RateWindow;
  readonly #history = new StatusHistoryLog();
  readonly #eventLoopDelay = new EventLoopDelay();
  readonly #startedAt = Math.round(Date.now() - process.uptime() * 1_000);
  /** How long each lane had worked at the last look. */
  readonly #laneBusyMs = new WeakMap<Lane, number>();
  #lookedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #publishing = false;
  #status: BrokerStatus | undefined;

  constructor(sources: StatusSources, link: RedisLink, group: string, log: Logger) {
    this.#sources = sources;
    this.#link = link;
    this.#key = groupKeys(group).status;
    this.#log = log;
    const { commit, delay } = sources.metrics;
    this.#rates = new RateWindow(WINDOW_LOOKS, commit, delay);
  }

  /** The last status; undefined until Redis and the disk were looked at. */
  get status(): BrokerStatus | undefined {
    return this.#status;
  }

  start(): void {
    this.#eventLoopDelay.enable();
    this.#timer = setInterval(() => void this.#publish(), STATUS_EVERY_MS);
    void this.#sources.slowFacts.start().then(() => this.#publish());
  }

  /** Publishes no more; the last status expires, or a successor's replaces it. Idempotent. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#eventLoopDelay.disable();
    this.#sources.slowFacts.stop();
  }

  async #publish(): Promise<void> {
    const status = this.#make();
    this.#status = status;
    if (status === undefined || this.#publishing || this.#timer === undefined) return;
    this.#publishing = true;
    try {
      await setStatus.run(this.#link, [this.#key, JSON.stringify(status), STATUS_TTL_MS]);
    } catch (error) {
      // While Redis is away no reader can get it; the next status contains all of it.
      this.#log.debug({ err: error }, 'The status could not be published');
    } finally {
      this.#publishing = false;
    }
  }

  #make(): BrokerStatus | undefined {
    const { metrics, loads, slowFacts, walWatch, parked, leader, sessions, idleJobs, transactions } =
      this.#sources;
    const now = performance.now();
    const at = Date.now();
    const { totals } = metrics;
    const rates = this.#rates.look(now, totals);
    const { evictedPerSecond, ...writeRates } = rates;
    const figures = loads.read(now, at);
    const lanes = this.#lanes(now);
    const waitingJobs = figures.waitingJobs + idleJobs();
    const depth = waitingJobs + figures.heldJobs;
    this.#history.note(at, rates, depth);
    const eventLoopDelayP99Ms = this.#eventLoopDelay.look();
    const { facts } = slowFacts;
    if (facts === undefined) return undefined;
    const memory = readMemoryUsage();
    return {
      v: STATUS_VERSION,
      at,
      leader: leader(),
      writes: { ...writeRates, total: totals.writes, failedTotal: totals.failed },
      queue: { waitingJobs, heldJobs: figures.heldJobs, depth },
      tenants: {
        windowMs: figures.windowMs,
        active: figures.active,
        open: sessions(),
        known: facts.knownTenants,
        writesPerSecond: figures.writesPerSecond,
        busiest: figures.busiest,
        slowest: figures.slowest,
        delayed: figures.delayed,
        deepest: figures.deepest,
      },
      parked: { total: parked.size, tenants: parked.list(MAX_PARKED) },
      lanes,
      apart: this.#sources.apart(),
      files: { maxOpenTenants: this.#sources.maxOpenTenants, evictedPerSecond },
      transactions: transactions(),
      redis: facts.redis,
      wal: {
        largest: figures.largestWals.map(({ tenant, walBytes }) => ({ tenant, bytes: walBytes })),
        heldTotal: walWatch.heldTenants,
        held: walWatch.held(),
      },
      deadLetters: { waiting: facts.deadLetters, addedTotal: metrics.deadLetters },
      disk: facts.disk,
      process: {
        startedAt: this.#startedAt,
        rssBytes: memory.rss,
        heapUsedBytes: memory.heapUsed,
        eventLoopDelayP99Ms,
        writerThreadRestarts: this.#sources.threadRestarts(),
      },
      history: this.#history.read(),
      replica: this.#sources.replica(),
      hibernation: { tenants: facts.hibernatedTenants, ...this.#sources.hibernation() },
    };
  }

  #lanes(now: number): readonly StatusLane[] {
    const { lanes, threads } = this.#sources;
    const elapsedMs = Math.max(now - this.#lookedAt, 1);
    this.#lookedAt = now;
    return lanes().map((lane, index) => {
      const busyMs = lane.busyMs(now);
      const share = (busyMs - (this.#laneBusyMs.get(lane) ?? 0)) / elapsedMs;
      this.#laneBusyMs.set(lane, busyMs);
      const tenant = lane.work?.client.tenant ?? null;
      return {
        lane: lane.index,
        spare: index >= threads,
        openTenants: lane.tenants.size,
        waitingTenants: lane.waiting,
        busyShare: Number(Math.min(share, 1).toPrecision(3)),
        tenant,
        tenantForMs: tenant === null ? 0 : Math.round(lane.heldUpMs(now)),
      };
    });
  }
}
