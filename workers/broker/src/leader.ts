import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type BrokerStatus,
  groupKeys,
  inspectDataDir,
  readReleaseBell,
  type StatusTransactions,
  TENANT_ID_PATTERN,
  type WireError,
} from '@onewriter/protocol';
import type { Config, Logger } from '@onewriter/runtime';
import { releaseWithheld } from '@onewriter/writer';
import type { BrokerMetrics } from './broker-metrics.ts';
import { Condemned } from './condemned.ts';
import { DeadLetters } from './dead-letters.ts';
import { Doorbell } from './doorbell.ts';
import { readFailpoint } from './failpoint.ts';
import type { BatchObserver } from './finished-batch.ts';
import { InboxEvents } from './inbox-events.ts';
import { factsOfWrite, JobLog } from './job-log.ts';
import { Lanes } from './lanes.ts';
import type { Lease } from './lease.ts';
import { Parked } from './parked.ts';
import type { RedisLink } from './redis-link.ts';
import { SlowFactsWatch } from './status/slow-facts.ts';
import { StatusPublisher } from './status/status-publisher.ts';
import { TenantLoads } from './status/tenant-load.ts';
import { Sweep } from './sweep.ts';
import { LOCK_MS, TenantQueue } from './tenant-queue.ts';
import { FINISH_AFTER_MS, type SessionContext, TenantSession } from './tenant-session.ts';
import { WalWatch } from './wal-watch.ts';
import { type StuckWrite, Watchdog } from './watchdog.ts';
import { WriteSpans } from './write-spans.ts';

/*
 *   doorbell ─┐
 *   sweep ────┼─▶ TenantSession (one per tenant with work) ─▶ Lanes ─▶ writer threads
 *   adoption ─┘        │  ▲
 *                      ▼  │ take, finish
 *                 TenantQueue, InboxEvents, DeadLetters ─▶ Redis
 */

/** What a leader needs. */
export interface LeaderOptions {
  readonly config: Config;
  readonly log: Logger;
  /** For commands. */
  readonly link: RedisLink;
  /** For the doorbell alone. */
  readonly bellLink: RedisLink;
  /** Held. */
  readonly lease: Lease;
  readonly metrics: BrokerMetrics;
  /** The process has to end, at once: what it holds is delivered to its successor. */
  readonly onEnd: (reason: string) => void;
}

const CLOSE_IDLE_EVERY_MS = 5_000;
/** How long the other tenants' batches may take when the process is replaced because of one. */
const REPLACE_GRACE_MS = 1_000;
const CONDEMN_TIMEOUT_MS = 2_000;

/** Open transactions that the status tells about. */
const MAX_STATUS_TRANSACTIONS = 50;

/** Everything that one process does while it leads. */
export class Leader {
  readonly #status: StatusPublisher;
  readonly #options: LeaderOptions;
  readonly #sessions = new Map<string, TenantSession>();
  readonly #lanes: Lanes;
  readonly #context: SessionContext;
  readonly #doorbell: Doorbell;
  readonly #sweep: Sweep;
  readonly #watchdog: Watchdog;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #open: string;
  /** Those that told what is not finished in Redis. */
  readonly #unfinished = new Set<TenantSession>();
  #finishing: NodeJS.Timeout | undefined;
  #ending = false;
  #raising: Promise<boolean> | undefined;

  constructor(options: LeaderOptions) {
    const { config, log, link, lease } = options;
    const keys = groupKeys(config.group);
    this.#options = options;
    this.#open = keys.open;
    const directory = inspectDataDir(config.dataDir);
    const exclusive = directory.kind === 'network';
    if (exclusive) {
      log.warn(
        { dataDir: config.dataDir, fileSystem: directory.fileSystem },
        'The data directory is on a network file system: files are locked for this process, and not read directly',
      );
    }
    this.#lanes = new Lanes({
      threads: config.threads,
      log,
      mayBegin: () => lease.held,
      writer: {
        dataDir: config.dataDir,
        dbFile: config.dbFile,
        createTenants: config.createTenants,
        busyTimeoutMs: config.busyTimeoutMs,
        maxOpenTenants: config.maxOpenTenants,
        exclusive,
      },
    });
    this.#context = {
      lanes: this.#lanes,
      link,
      inbox: new InboxEvents(link, config.group),
      deadLetters: new DeadLetters(link, config.group, log),
      condemned: new Condemned(link, config.group, log),
      parked: new Parked(link, config.group, log),
      metrics: options.metrics,
      loads: new TenantLoads(),
      walWatch: new WalWatch(config.dataDir, config.dbFile, log),
      observers: createObservers(config, log),
      log,
      epoch: () => lease.epoch,
      transactionLimits: {
        timeoutMs: config.transactionTimeoutMs,
        idleMs: config.transactionIdleMs,
        maxMs: config.transactionMaxMs,
      },
      onFenced: (tenant, error) => this.#onFenced(tenant, error),
      finishSoon: session => this.#finishSoon(session),
      afterCommit: readFailpoint('after-commit', process.env['ONEWRITER_FAILPOINT']),
      onBug: error => {
        if (this.#ending) return;
        log.fatal({ err: error }, 'A fault of ours; the process ends, and its work is delivered again');
        this.#end('a fault of ours');
      },
    };
    this.#doorbell = new Doorbell({
      link: options.bellLink,
      key: keys.bell,
      onRing: tenants => this.#onRing(tenants),
      taker: tenant => this.#sessions.get(tenant),
      log,
    });
    this.#sweep = new Sweep(link, config.group, log);
    this.#status = this.#createStatus();
    this.#watchdog = new Watchdog(
      () => this.#lanes.all,
      config.statementTimeoutMs,
      stuck => void this.#onStuck(stuck),
    );
  }

  /** Takes over what the last leader left, and listens. Resolves when the doorbell is listened to. */
  async start(): Promise<void> {
    const { config, link } = this.#options;
    await Promise.all([this.#context.condemned.load(), this.#context.parked.load()]);
    // Before the adoption: with many tenants that takes its time, and people look at it.
    this.#status.start();
    await this.#adoptAll();
    void this.#doorbell.listen();
    void this.#sweep.run(
      config.sweepIntervalMs,
      tenant => this.#sessions.get(tenant)?.asleep === false,
      ({ tenant, active }) => {
        // Jobs that are active here are known to a session that is awake; these are a dead leader's.
        if (active > 0) this.#session(tenant).adopt().catch(this.#context.onBug);
        else this.#session(tenant).ring();
      },
    );
    this.#every(CLOSE_IDLE_EVERY_MS, () => this.#closeIdle());
    this.#every(LOCK_MS / 3, () => this.#renewLocks());
    // What the lease held up goes on when it is held again.
    this.#every(50, () => this.#lanes.pump());
    link.redis.on('ready', () => this.#onReconnected());
  }

  /** What people and probes want to know. */
  facts() {
    const { lease } = this.#options;
    const lanes = this.#lanes.all;
    return {
      leading: lease.held,
      epoch: lease.epoch,
      sessions: this.#sessions.size,
      lanes: lanes.length,
      busyLanes: lanes.filter(lane => lane.work !== undefined).length,
      waitingTenants: lanes.reduce((sum, lane) => sum + lane.waiting, 0),
      parkedTenants: this.#context.parked.size,
      heldWals: this.#context.walWatch.heldTenants,
    };
  }

  #transactions(): StatusTransactions {
    const open = [...this.#sessions.values()].flatMap(session => session.openTransaction ?? []);
    open.sort((a, b) => a.deadlineAt - b.deadlineAt);
    return { total: open.length, open: open.slice(0, MAX_STATUS_TRANSACTIONS) };
  }

  /** As last made; undefined at the very beginning. */
  get status(): BrokerStatus | undefined {
    return this.#status.status;
  }

  #createStatus(): StatusPublisher {
    const { config, link, lease, log, metrics } = this.#options;
    const { loads, parked, walWatch } = this.#context;
    const leader = () => ({
      broker: lease.broker,
      host: hostname(),
      pid: process.pid,
      epoch: lease.epoch,
      since: lease.since,
      leaseHeld: lease.held,
    });
    return new StatusPublisher(
      {
        metrics,
        loads,
        slowFacts: new SlowFactsWatch(link, config.group, config.dataDir, log),
        walWatch,
        parked,
        leader,
        lanes: () => this.#lanes.all,
        threads: config.threads,
        threadRestarts: () => this.#lanes.faults,
        sessions: () => this.#sessions.size,
        idleJobs: () => this.#sweep.idleJobs,
        transactions: () => this.#transactions(),
      },
      link,
      config.group,
      log,
    );
  }

  /**
   * Finishes what was begun, puts back what was not, and gives the lease up; then closes the files, which may take
   * longer: nothing is committed to them any more.
   * @param graceMs for what was begun; what is not finished then is left to the successor.
   * @returns false where a thread is still at work.
   */
  async drain(graceMs: number): Promise<boolean> {
    this.#stop();
    const sessions = [...this.#sessions.values()];
    await Promise.race([Promise.all(sessions.map(session => session.drain())), pause(graceMs)]);
    await this.#handOver(sessions);
    const stuck = this.#lanes.all.find(lane => lane.work !== undefined)?.work;
    if (stuck !== undefined) {
      const { tenant } = stuck.client;
      this.#options.log.warn(
        { tenant, graceMs },
        'A statement does not end: its job is left to the next broker',
      );
      return false;
    }
    await this.#lanes.close();
    this.#context.deadLetters.close();
    return true;
  }

  /**
   * Begins nothing any more and waits for what the threads are doing, not for what it means: this process does not lead.
   * @returns false where a thread is still at work after `graceMs`.
   */
  async halt(graceMs: number): Promise<boolean> {
    this.#stop();
    this.#leaveWord();
    return Promise.race([this.#lanes.idle().then(() => true), pause(graceMs).then(() => false)]);
  }

  #stop(): void {
    this.#ending = true;
    this.#status.stop();
    this.#doorbell.stop();
    this.#sweep.stop();
    this.#watchdog.close();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#finishing);
    this.#lanes.pause();
  }

  #end(reason: string): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#options.onEnd(reason);
  }

  #every(intervalMs: number, run: () => void): void {
    this.#timers.push(setInterval(run, intervalMs));
  }

  #session(tenant: string): TenantSession {
    let session = this.#sessions.get(tenant);
    if (session === undefined) {
      const { link, config, lease } = this.#options;
      const queue = new TenantQueue(link, config.group, tenant, lease);
      session = new TenantSession(tenant, queue, this.#context);
      this.#sessions.set(tenant, session);
      // Both go before the session's first take. A successor adopts the tenants of the first at once, and sweeps those of
      // the second, which producers fill, too, but not again at once where Redis has lost it.
      link.insist(() => link.call('SADD', this.#open, tenant)).catch(this.#context.onBug);
      link
        .insist(() => link.call('ZADD', groupKeys(config.group).tenants, 'GT', Date.now(), tenant))
        .catch(this.#context.onBug);
      queue.configure().catch(() => {}); // it only saves memory; the next session does it again
    }
    return session;
  }

  #onRing(tenants: readonly string[]): void {
    for (const tenant of tenants) {
      const released = readReleaseBell(tenant);
      if (TENANT_ID_PATTERN.test(tenant)) this.#session(tenant).ring();
      else if (released !== undefined) this.#release(released).catch(this.#context.onBug);
      else this.#options.log.warn({ tenant: tenant.slice(0, 80) }, 'The doorbell was rung for no tenant id');
    }
  }

  /** Somebody asked for a tenant's file: lets go of it, and says so. */
  async #release(tenant: string): Promise<void> {
    const { link, config, log } = this.#options;
    const keys = groupKeys(config.group);
    const request = await link.insist(() => link.call('HGET', keys.releasing, tenant));
    if (request === null || this.#ending) return;
    const session = this.#sessions.get(tenant);
    if (session !== undefined) {
      const rest = session.drain();
      // It may be taking when the next bell rings.
      await link.insist(() => this.#doorbell.wake(link));
      await rest;
      await link.insist(() => session.giveBack());
      if (this.#ending) return;
      this.#sessions.delete(tenant);
      await this.#lanes.closeTenant(session);
      await link.insist(() => link.call('SREM', this.#open, tenant));
    }
    // Whatever happened to the file: who asks for it puts it right.
    try {
      releaseWithheld(config.dataDir, tenant);
    } catch (error) {
      log.error({ err: error, tenant }, 'The note that keeps the tenant closed could not be removed');
    }
    await link.insist(() => link.call('HSET', keys.released, tenant, request as string));
    log.info({ tenant }, 'The tenant’s file is released');
  }

  /** The active jobs of whoever led before: ours now, the fence keeps its commits out. */
  async #adoptAll(): Promise<void> {
    const { link, log } = this.#options;
    const tenants = (await link.insist(() => link.call('SMEMBERS', this.#open))) as string[];
    let jobs = 0;
    await Promise.all(
      tenants
        .filter(tenant => TENANT_ID_PATTERN.test(tenant))
        .map(async tenant => {
          jobs += await this.#session(tenant).adopt();
        }),
    );
    if (jobs > 0) log.info({ jobs, tenants: tenants.length }, 'Jobs of the last leader are delivered again');
  }

  #onReconnected(): void {
    // A take whose answer was lost is looked after by its session; bells may have been lost, too.
    for (const session of this.#sessions.values()) session.ring();
  }

  #closeIdle(): void {
    const { config, link, log } = this.#options;
    const before = performance.now() - config.idleCloseMs;
    const idle: string[] = [];
    for (const session of this.#sessions.values()) {
      if (!session.asleep || session.lastUsedAt > before) continue;
      this.#sessions.delete(session.tenant);
      this.#context.walWatch.forget(session.tenant);
      idle.push(session.tenant);
      this.#lanes
        .closeTenant(session)
        .catch(error => log.warn({ err: error, tenant: session.tenant }, 'An idle tenant was not closed'));
    }
    if (idle.length === 0) return;
    // A tenant that is left in the set costs its successor one look.
    link.call('SREM', this.#open, ...idle).catch(() => {});
  }

  /** Has a session finish what it told, with what others told by then. */
  #finishSoon(session: TenantSession): void {
    this.#unfinished.add(session);
    this.#finishing ??= setTimeout(() => {
      this.#finishing = undefined;
      const sessions = [...this.#unfinished];
      this.#unfinished.clear();
      for (const each of sessions) each.finishTold().catch(this.#context.onBug);
    }, FINISH_AFTER_MS);
  }

  #renewLocks(): void {
    const before = performance.now() - LOCK_MS / 3;
    for (const session of this.#sessions.values()) {
      // A lock that runs out keeps nobody from anything but failing a job, which is tried again.
      session.renewLocks(before).catch(() => {});
    }
  }

  async #onFenced(tenant: string, error: WireError): Promise<void> {
    const { lease, log } = this.#options;
    const fileEpoch = Number(error.details?.['fileEpoch'] ?? 0);
    if (fileEpoch < lease.epoch && lease.held) return; // raised meanwhile, for another tenant
    this.#raising ??= lease.raise(fileEpoch).finally(() => {
      this.#raising = undefined;
    });
    if (await this.#raising) {
      log.warn(
        { tenant, fileEpoch, epoch: lease.epoch },
        'A file has seen a newer epoch than ours, and yet we lead: a restored file, or Redis lost its data. Epoch raised',
      );
      return;
    }
    log.error(
      { tenant, fileEpoch, epoch: lease.epoch },
      'Fenced: a newer broker has taken over; this one leaves the lead',
    );
    this.#end('fenced by a newer broker');
    await new Promise<never>(() => {}); // the process ends
  }

  /** A statement that never ends can only be ended with its process. Everyone else's work is handed over first. */
  async #onStuck({ work, jobId, op, ranMs }: StuckWrite): Promise<void> {
    const { config, log } = this.#options;
    const { tenant } = work.client;
    const job = work.task.jobs.find(({ id }) => id === jobId);
    log.error(
      {
        tenant,
        job: jobId,
        write: op,
        ...(job === undefined ? {} : factsOfWrite(job, op)),
        ranMs: Math.round(ranMs),
        statementTimeoutMs: config.statementTimeoutMs,
      },
      'A statement runs past its deadline; it is set aside and this process is replaced',
    );
    const error: WireError = {
      code: 'STATEMENT_TIMEOUT',
      message: `The statement ran longer than ${config.statementTimeoutMs} ms and was stopped; it was not applied.`,
      details: { statementTimeoutMs: config.statementTimeoutMs },
    };
    const condemning = this.#context.condemned.condemn(jobId, op, error);
    const condemned = await Promise.race([
      condemning.then(() => true),
      pause(CONDEMN_TIMEOUT_MS).then(() => false),
    ]).catch(() => false);
    // Without the note the successor would run into it again, and note it then.
    if (!condemned)
      log.error({ tenant, job: jobId }, 'Redis did not take the note of the statement that never ends');
    if (this.#ending) return;
    this.#stop();
    const others = [...this.#sessions.values()].filter(session => session !== work.client);
    await Promise.race([
      Promise.all(others.map(session => session.drain())).then(() =>
        this.#handOver([...others, work.client as TenantSession]),
      ),
      pause(REPLACE_GRACE_MS),
    ]).catch(failure => log.warn({ err: failure }, 'Handing over failed; the lease runs out by itself'));
    // process.exit() would wait for the thread.
    process.kill(process.pid, 'SIGKILL');
  }

  /** Where Redis lost its data, the successor would not know in which queues this process left active jobs. */
  #leaveWord(): void {
    const { link, config, log } = this.#options;
    const awake = [...this.#sessions.values()].filter(session => !session.asleep);
    if (awake.length === 0) return;
    const { tenants } = groupKeys(config.group);
    link
      .call('ZADD', tenants, 'GT', ...awake.flatMap(({ tenant }) => [Date.now(), tenant]))
      .catch(error => log.warn({ err: error }, 'The tenants with active jobs could not be listed'));
  }

  /** Puts jobs that were not begun back, leaves word that they wait, and gives the lease up. */
  async #handOver(sessions: readonly TenantSession[]): Promise<void> {
    const { link, lease, config } = this.#options;
    const now = Date.now();
    const bells: (string | number)[] = [];
    const settled: string[] = [];
    await Promise.all(
      sessions.map(async session => {
        const hadMore = session.mayHaveMore;
        const returned = await session.giveBack();
        if (hadMore || returned > 0) bells.push(now, session.tenant);
        if (session.held === 0) settled.push(session.tenant);
      }),
    );
    if (bells.length > 0) await link.call('ZADD', groupKeys(config.group).bell, 'NX', ...bells);
    if (settled.length > 0) await link.call('SREM', this.#open, ...settled);
    await lease.release();
  }
}

function createObservers(config: Config, log: Logger): readonly BatchObserver[] {
  const jobLog = new JobLog({ slowMs: config.slowWriteMs, values: config.logValues, log });
  return config.traceUrl === undefined ? [jobLog] : [jobLog, new WriteSpans()];
}
