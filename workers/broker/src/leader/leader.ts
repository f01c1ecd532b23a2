import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type BrokerStatus,
  chooseBrokerOpenFiles,
  explainReply,
  groupKeys,
  inspectDataDir,
  isOnewriterError,
  parseWriteJob,
  placeOf,
  REPLACED_SIGNAL,
  readProcessRoom,
  readReleaseNotification,
  runningDir,
  SECOND_REDIS_REMEDY,
  type StatusTransactions,
  TENANT_ID_PATTERN,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import type { Config, Logger, Successor } from '@onewriter/runtime';
import { releaseWithheld } from '@onewriter/writer';
import { Apart, type ApartFinding } from '../lanes/apart/apart.ts';
import { JobMemory, jobMemoryBytes } from '../lanes/job-memory.ts';
import type { LaneWork } from '../lanes/lane.ts';
import type { LaneThread } from '../lanes/lane-thread.ts';
import { Lanes } from '../lanes/lanes.ts';
import {
  type CostlyWrite,
  type MemoryFinding,
  MemoryWatch,
  writeMemoryBytes,
} from '../lanes/memory-watch.ts';
import { WalWatch } from '../lanes/wal-watch.ts';
import { type StuckWrite, Watchdog } from '../lanes/watchdog.ts';
import type { BrokerMetrics } from '../observe/broker-metrics.ts';
import type { BatchObserver } from '../observe/finished-batch.ts';
import { factsOfWrite, JobLog } from '../observe/job-log.ts';
import { SlowFactsWatch } from '../observe/status/slow-facts.ts';
import { StatusPublisher } from '../observe/status/status-publisher.ts';
import { TenantLoads } from '../observe/status/tenant-load.ts';
import { WriteSpans } from '../observe/write-spans.ts';
import { DeadLetters } from '../queue/dead-letters.ts';
import { Doorbell } from '../queue/doorbell.ts';
import { FinishedJobs } from '../queue/finished-jobs.ts';
import { InboxEvents } from '../queue/inbox-events.ts';
import type { RedisLink } from '../queue/redis-link.ts';
import { Sweep } from '../queue/sweep.ts';
import { LOCK_MS, TenantQueue } from '../queue/tenant-queue.ts';
import { readFailpoint } from '../recovery/failpoint.ts';
import { PoisonedJobs } from '../recovery/poisoned-jobs.ts';
import { Reclaim } from '../recovery/reclaim.ts';
import { readRunningNotes, removeRunningNotes } from '../recovery/running-notes.ts';
import { ClientPresence } from '../tenant/client-presence.ts';
import { HeldTenants } from '../tenant/held-tenants.ts';
import { Parked } from '../tenant/parked.ts';
import { FINISH_AFTER_MS } from '../tenant/session/completion.ts';
import { type SessionContext, TenantSession } from '../tenant/session/tenant-session.ts';
import { type Offender, TenantBackOff } from '../tenant/tenant-back-off.ts';
import type { DataDirClaim } from './data-dir-claim.ts';
import type { Lease, Raised } from './lease.ts';
import { DataDirClock, SAVE_CLOCK_EVERY_MS } from './retention-clock.ts';

/*
 *   doorbell ─┐
 *   sweep ────┼─▶ TenantSession (one per tenant with work) ─▶ Lanes ─▶ writer threads
 *   reclaim ──┘        │  ▲
 *                      ▼  │ fetch, finish
 *                 TenantQueue, InboxEvents, DeadLetters ─▶ Redis
 */

/** Dependencies of a leader. */
export interface LeaderOptions {
  readonly config: Config;
  readonly log: Logger;
  /** For commands. */
  readonly link: RedisLink;
  /** For the doorbell alone. */
  readonly notificationLink: RedisLink;
  /** Held. */
  readonly lease: Lease;
  readonly claim: DataDirClaim;
  readonly metrics: BrokerMetrics;
  readonly successor: Successor;
  /** Writer threads that were started before. */
  readonly threads: readonly LaneThread[];
  /** The process has to end, at once: its jobs are delivered to its successor. */
  readonly onEnd: (reason: string) => void;
}

const CLOSE_IDLE_EVERY_MS = 5_000;
/** Between two claims of the group. */
const CLAIM_EVERY_MS = 2_000;
/** Parts of the time for a drain: until when the last file may be closed, and how much longer a begun close may take. */
const CLOSE_UNTIL = 0.75;
const CLOSE_GRACE = 0.1;
/** How long the other tenants' batches may take when the process is replaced because of one. */
const REPLACE_GRACE_MS = 1_000;
/** A statement may run this much longer while the successor process is still starting. */
const SUCCESSOR_GRACE_MS = 2_000;
const CONDEMN_TIMEOUT_MS = 2_000;
/**
 * Tenants that wait for memory, or for a lane, before more are reclaimed or swept: enough to keep the lanes busy. More would
 * only cost main-thread time that tenants with notifications need.
 */
const MAX_WAITING_TENANTS = 200;

/** Open transactions that the status lists. */
const MAX_STATUS_TRANSACTIONS = 50;

/** All that one process does while it leads. */
export class Leader {
  readonly #status: StatusPublisher;
  readonly #options: LeaderOptions;
  readonly #sessions = new Map<string, TenantSession>();
  readonly #lanes: Lanes;
  readonly #apart: Apart;
  readonly #clock: DataDirClock;
  readonly #context: SessionContext;
  readonly #held: HeldTenants;
  readonly #doorbell: Doorbell;
  readonly #sweep: Sweep;
  readonly #finishedJobs: FinishedJobs;
  readonly #reclaim: Reclaim;
  readonly #watchdog: Watchdog;
  readonly #memoryWatch: MemoryWatch;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #open: string;
  /** Sessions that acknowledged jobs which are not finished in Redis. */
  readonly #unfinished = new Set<TenantSession>();
  #finishing: NodeJS.Timeout | undefined;
  #ending = false;
  #raising: Promise<Raised> | undefined;

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
        'The data directory is on a network file system: this process locks the files, and others cannot read them directly',
      );
    }
    this.#clock = new DataDirClock(config.dataDir, log);
    const openFiles = chooseBrokerOpenFiles(readProcessRoom(), config.threads, config.maxOpenTenants);
    log.info(openFiles, 'Tenants that each writer thread keeps open, and logs to flush');
    this.#apart = new Apart({
      limitBytes: writeMemoryBytes(config.writeMemoryBytes),
      statementTimeoutMs: config.statementTimeoutMs,
      onStopped: (work, jobId, op, finding) => this.#onStoppedApart(work, jobId, op, finding),
      onApplied: (tenant, isCostly) => this.#onAppliedApart(tenant, isCostly),
      log,
    });
    this.#lanes = new Lanes({
      threads: config.threads,
      log,
      started: options.threads,
      mayBegin: () => lease.held,
      apart: this.#apart.process,
      onChanged: (tenant, finding) => this.#onChanged(tenant, finding),
      openFiles,
      onBroken: error => this.#context.onBug(error),
      writer: {
        dataDir: config.dataDir,
        dbFile: config.dbFile,
        createTenants: config.createTenants,
        busyTimeoutMs: config.busyTimeoutMs,
        exclusive,
        runningNote: join(runningDir(config.dataDir), String(lease.epoch)),
        dataDirId: options.claim.id,
        retentionClock: { id: this.#clock.id, offsetMs: this.#clock.offsetMs },
      },
    });
    this.#apart.attach(this.#lanes.apart);
    const parked = new Parked(link, config.group, log);
    this.#context = {
      lanes: this.#lanes,
      link,
      inbox: new InboxEvents(link, config.group),
      presence: new ClientPresence(link, config.group),
      deadLetters: new DeadLetters(link, config.group, log),
      poisoned: new PoisonedJobs(link, config.group, log),
      parked,
      backOff: new TenantBackOff(link, config, parked, log),
      metrics: options.metrics,
      loads: new TenantLoads(),
      memory: new JobMemory(jobMemoryBytes(config.jobMemoryBytes)),
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
      onHeld: tenant => this.#held.release(tenant),
      finishSoon: session => this.#finishSoon(session),
      afterCommit: readFailpoint('after-commit', process.env['ONEWRITER_FAILPOINT']),
      onBug: error => {
        if (this.#ending) return;
        const refused = explainReply(error);
        if (refused !== undefined) {
          log.fatal({ code: refused.code }, refused.message);
          this.#end('Redis refuses what a leader needs');
          return;
        }
        log.fatal({ err: error }, 'Internal error; exiting. Unfinished jobs will be redelivered');
        this.#end('internal error');
      },
    };
    this.#held = new HeldTenants({
      link,
      group: config.group,
      log,
      epoch: () => lease.epoch,
      close: (tenant, isForPerson) => this.#closeHeld(tenant, isForPerson),
      onEnded: tenant => this.#context.backOff.onResumed(tenant),
      onFree: tenant => this.#session(tenant).notify(),
      onFenced: (tenant, error) => this.#onFenced(tenant, toWireError(error)),
      onBug: this.#context.onBug,
    });
    this.#doorbell = new Doorbell({
      link: options.notificationLink,
      key: keys.notifications,
      onNotified: tenants => this.#onNotified(tenants),
      fetcher: tenant => this.#sessions.get(tenant),
      log,
    });
    this.#reclaim = new Reclaim({
      link,
      group: config.group,
      reclaim: tenant => this.#reclaimTenant(tenant),
      untilRoom: () => this.#untilRoom(),
      isOpen: tenant => this.#sessions.has(tenant),
    });
    this.#sweep = new Sweep(link, config.group, log);
    this.#finishedJobs = new FinishedJobs(link, config.group, log);
    this.#status = this.#createStatus();
    this.#watchdog = new Watchdog(
      () => this.#lanes.all,
      () => config.statementTimeoutMs + (options.successor.coming ? SUCCESSOR_GRACE_MS : 0),
      stuck => void this.#onStuck(stuck),
    );
    this.#memoryWatch = new MemoryWatch(
      () => this.#lanes.all,
      writeMemoryBytes(config.writeMemoryBytes),
      finding => void this.#onMemoryGrown(finding),
    );
  }

  /** Listens, and reclaims the last leader's jobs. Resolves when the doorbell listens. */
  async start(): Promise<void> {
    const { config, link } = this.#options;
    const { poisoned, parked, backOff } = this.#context;
    await Promise.all([poisoned.load(), parked.load()]);
    // Their files stay closed, and none of their jobs are reclaimed.
    for (const tenant of await backOff.load()) this.#held.release(tenant);
    this.#status.start();
    // All are counted before the first may run again.
    await this.#context.poisoned.countLastCrashes(readRunningNotes(config.dataDir));
    removeRunningNotes(config.dataDir);
    void this.#doorbell.listen();
    this.#reclaimAndSweep().catch(error => {
      if (!this.#ending) this.#context.onBug(error);
    });
    void this.#finishedJobs.run();
    this.#every(CLOSE_IDLE_EVERY_MS, () => this.#closeIdle());
    this.#every(LOCK_MS / 3, () => this.#renewLocks());
    this.#every(SAVE_CLOCK_EVERY_MS, () => {
      // Once overtaken, its count is behind its successor's.
      if (this.#options.lease.held) this.#clock.save();
    });
    // Work that a lost lease delayed continues when the lease is held again.
    this.#every(50, () => this.#lanes.pump());
    this.#every(CLAIM_EVERY_MS, () => void this.#claim());
    link.redis.on('ready', () => this.#onReconnected());
  }

  /** If Redis lost its data and another installation claimed the group first, this process has to end. */
  async #claim(): Promise<void> {
    if (this.#ending) return;
    try {
      await this.#options.claim.claim();
    } catch (error) {
      // All other errors pass, such as an outage of Redis: it claims again soon.
      if (!isOnewriterError(error) || error.details.reason !== 'another data directory') return;
      this.#end(error.message);
    }
  }

  /** Facts for people and probes. */
  facts() {
    const { lease } = this.#options;
    const lanes = this.#lanes.all;
    return {
      leading: lease.held,
      epoch: lease.epoch,
      sessions: this.#sessions.size,
      lanes: lanes.length,
      busyLanes: lanes.filter(lane => lane.work !== undefined).length,
      tenantApart: this.#lanes.apart.work?.client.tenant,
      waitingApart: this.#lanes.apart.waiting,
      waitingTenants: this.#lanes.waiting,
      parkedTenants: this.#context.parked.size,
      heldWals: this.#context.walWatch.heldTenants,
    };
  }

  #transactions(): StatusTransactions {
    const open = [...this.#sessions.values()].flatMap(session => session.openTransaction ?? []);
    open.sort((a, b) => a.deadlineAt - b.deadlineAt);
    return { total: open.length, open: open.slice(0, MAX_STATUS_TRANSACTIONS) };
  }

  /** The last published status; undefined at the very beginning. */
  get status(): BrokerStatus | undefined {
    return this.#status.status;
  }

  #createStatus(): StatusPublisher {
    const options = this.#options;
    const { config, link, lease, log, metrics } = options;
    const { loads, parked, walWatch } = this.#context;
    const leader = () => ({
      broker: lease.broker,
      host: hostname(),
      pid: process.pid,
      epoch: lease.epoch,
      since: lease.since,
      dataDir: { id: options.claim.id, path: placeOf(config.dataDir).path },
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
        maxOpenTenants: this.#lanes.maxOpenTenants,
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
   * Finishes what was begun, requeues the rest, and releases the lease; then closes the files, which may take longer: nothing is
   * committed to them any more.
   * @param drainMs for all of it: half for begun work, which is left to the successor if it is not finished then; the rest but a
   * fifth for the files.
   * @returns false where a thread is still at work or has files open: a signal has to end the process.
   */
  async drain(drainMs: number): Promise<boolean> {
    const startedAt = performance.now();
    const graceMs = drainMs / 2;
    this.#stop();
    const sessions = [...this.#sessions.values()];
    await Promise.race([Promise.all(sessions.map(session => session.drain())), pause(graceMs)]);
    await this.#handOver(sessions);
    // Not counted against its job, which the next leader runs apart again.
    if (this.#lanes.apart.work !== undefined) await this.#apart.process.kill();
    const stuck = this.#lanes.all.find(lane => lane.work !== undefined)?.work;
    if (stuck !== undefined) {
      const { tenant } = stuck.client;
      this.#options.log.warn(
        { tenant, graceMs },
        'A statement does not end: its job will be redelivered to the next broker',
      );
      return false;
    }
    const closeMs = Math.max(0, drainMs * CLOSE_UNTIL - (performance.now() - startedAt));
    const atRest = await this.#closeFiles(closeMs, drainMs * CLOSE_GRACE);
    this.#context.deadLetters.close();
    return atRest;
  }

  /** @returns whether all files were closed; each costs flushes, and thousands can take longer than the drain may. */
  async #closeFiles(withinMs: number, graceMs: number): Promise<boolean> {
    const closing = this.#lanes.close(withinMs);
    const late = new AbortController();
    const left = await Promise.race([
      closing,
      // A close that the disk delays for longer ends with the process.
      pause(withinMs + graceMs, undefined, { signal: late.signal }),
    ]).finally(() => late.abort());
    if (left === 0) return true;
    closing.catch(error => this.#options.log.warn({ err: error }, 'A lane did not close'));
    this.#options.log.warn(
      { files: left, withinMs: Math.round(withinMs) },
      'Files were not closed in time; the next open writes their flushed logs back',
    );
    return false;
  }

  /**
   * Begins nothing more and waits for the threads' current work, not for its answers: this process does not lead.
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
    this.#reclaim.stop();
    this.#sweep.stop();
    this.#finishedJobs.stop();
    this.#watchdog.close();
    this.#memoryWatch.close();
    this.#apart.close();
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
      // Both are added before the session's first fetch. A successor reclaims the tenants of the first at once. It sweeps those
      // of the second, which producers fill, too, but not again soon if Redis has lost it.
      link.retryUntilDone(() => link.call('SADD', this.#open, tenant)).catch(this.#context.onBug);
      link
        .retryUntilDone(() => link.call('ZADD', groupKeys(config.group).tenants, 'GT', Date.now(), tenant))
        .catch(this.#context.onBug);
      queue.configure().catch(() => {}); // it only saves memory; the next session does it again
    }
    return session;
  }

  #onNotified(tenants: readonly string[]): void {
    for (const tenant of tenants) {
      const released = readReleaseNotification(tenant);
      if (TENANT_ID_PATTERN.test(tenant)) {
        if (!this.#held.onNotified(tenant)) this.#session(tenant).notify();
      } else if (released !== undefined) this.#held.release(released);
      else this.#options.log.warn({ tenant: tenant.slice(0, 80) }, 'Notification without a valid tenant id');
    }
  }

  /** Found when a tenant was closed: people should know before its next write is refused. */
  #onChanged(tenant: string, finding: WireError): void {
    const { code, message } = finding;
    // The successor finds it with the tenant's next write.
    if (this.#ending)
      this.#options.log.error({ tenant, code }, `Found when the tenant was closed: ${message}`);
    else this.#context.parked.park(tenant, finding);
  }

  /** A tenant is held: finishes what was begun, requeues the rest, and closes its file. */
  async #closeHeld(tenant: string, isForPerson: boolean): Promise<void> {
    const { link, config, log } = this.#options;
    const session = this.#sessions.get(tenant);
    if (session !== undefined) {
      const rest = session.drain();
      // A fetch may wait for the next notification.
      await link.retryUntilDone(() => this.#doorbell.wake(link));
      await rest;
      await link.retryUntilDone(() => session.requeue());
      if (this.#ending) await new Promise<never>(() => {}); // the end of the process hands its jobs over
      this.#sessions.delete(tenant);
      this.#context.walWatch.forget(tenant);
    }
    // Also without a session: the file of an idle one may still be closing.
    await this.#lanes.closeFile(tenant);
    if (session !== undefined) await link.retryUntilDone(() => link.call('SREM', this.#open, tenant));
    if (!isForPerson) return;
    const { parked } = this.#context;
    // Whatever happened to the file, its holder repairs it. Only the holder can know that the file is gone.
    try {
      const mayBeGone = parked.codeOf(tenant) === 'TENANT_UNAVAILABLE';
      if (releaseWithheld(config.dataDir, tenant, mayBeGone ? config.dbFile : undefined)) {
        parked.release(tenant, 'A person handles the file that changed');
      }
    } catch (error) {
      log.error({ err: error, tenant }, 'The note that keeps the tenant closed could not be removed');
    }
  }

  /** Reclaims the active jobs of earlier leaders, whose commits the fence stops; then sweeps periodically. */
  async #reclaimAndSweep(): Promise<void> {
    const { config, log } = this.#options;
    const { poisoned } = this.#context;
    if (!(await this.#reclaim.run()) || this.#ending) return;
    // Also tenants that sent a notification meanwhile.
    const reclaimed = [...this.#sessions.values()]
      .map(session => session.reclaimed)
      .filter(count => count > 0);
    const jobs = reclaimed.reduce((sum, count) => sum + count, 0);
    if (jobs > 0)
      log.info({ jobs, tenants: reclaimed.length }, 'Jobs of the last leader will be redelivered');
    // Jobs of a held tenant were not read: their crash counts have to outlast the hold.
    if (this.#held.size === 0) await poisoned.forgetUnclaimed();
    await this.#sweep.run(
      config.sweepIntervalMs,
      tenant => this.#sessions.get(tenant)?.asleep === false,
      async ({ tenant, active }) => {
        await this.#untilRoom();
        if (this.#ending || this.#held.onNotified(tenant)) return;
        // A session that is awake knows its active jobs; these are a dead leader's.
        if (active > 0) await this.#session(tenant).reclaim().catch(this.#context.onBug);
        else this.#session(tenant).notify();
      },
    );
  }

  async #reclaimTenant(tenant: string): Promise<void> {
    if (this.#ending || this.#held.onNotified(tenant)) return;
    const session = this.#session(tenant);
    // It was notified meanwhile: its first fetch reads the active jobs.
    await session.untilFetched();
    if (!session.ownsQueue) await session.reclaim();
  }

  /** Tenants with work stay in Redis while many wait here, because each costs some kilobytes. */
  async #untilRoom(): Promise<void> {
    await this.#context.memory.untilFewerWait(MAX_WAITING_TENANTS);
    await this.#lanes.untilFewerWait(MAX_WAITING_TENANTS);
  }

  #onReconnected(): void {
    // Each session repeats a fetch whose answer was lost; notifications may have been lost, too.
    for (const session of this.#sessions.values()) session.notify();
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

  /** Has a session finish its acknowledged jobs, together with those of other sessions. */
  #finishSoon(session: TenantSession): void {
    this.#unfinished.add(session);
    this.#finishing ??= setTimeout(() => {
      this.#finishing = undefined;
      const sessions = [...this.#unfinished];
      this.#unfinished.clear();
      for (const each of sessions) each.finishAnswered().catch(this.#context.onBug);
    }, FINISH_AFTER_MS);
  }

  #renewLocks(): void {
    const before = performance.now() - LOCK_MS / 3;
    for (const session of this.#sessions.values()) {
      // An expired lock only lets failing a job fail, which is tried again.
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
    const raised = await this.#raising;
    if (raised === 'raised') {
      log.warn(
        { tenant, fileEpoch, epoch: lease.epoch },
        'A file has seen a newer epoch although this broker leads: a restored file, or Redis lost its data. Epoch raised',
      );
      return;
    }
    if (raised === 'contested') {
      this.#end(
        `another broker leads the files in ${this.#options.config.dataDir} through another Redis: both repeatedly raised ` +
          `the epoch. ${lease.contest} ${SECOND_REDIS_REMEDY}`,
      );
    } else {
      log.error(
        { tenant, fileEpoch, epoch: lease.epoch },
        'Fenced: a newer broker has taken over; this one stops leading',
      );
      this.#end('fenced by a newer broker');
    }
    await new Promise<never>(() => {}); // the process ends
  }

  /** A statement that never ends can only be ended with its process. All other work is handed over first. */
  async #onStuck({ work, jobId, op, ranMs }: StuckWrite): Promise<void> {
    const { config, log } = this.#options;
    const { statementTimeoutMs } = config;
    log.error(
      { ...factsOfWork(work, jobId, op), ranMs: Math.round(ranMs), statementTimeoutMs },
      'A statement runs past its deadline; setting it aside and replacing this process',
    );
    const error = tookTooLong(statementTimeoutMs);
    await this.#replace([work], () => this.#poison(work, jobId, op, error));
  }

  /** A statement that uses memory without end can only be ended with its process, too, and sooner. */
  async #onMemoryGrown(finding: MemoryFinding): Promise<void> {
    const { log } = this.#options;
    const limitBytes = this.#memoryWatch.limitBytes;
    const facts = ({ work, jobId, op, grownBytes }: CostlyWrite) => ({
      ...factsOfWork(work, jobId, op),
      grownBytes: Math.round(grownBytes),
      limitBytes,
    });
    const overrun = new AbortController();
    // Without its note the successor would run it again, so noting may cost more memory than handing over.
    const tooMuch = {
      toNote: this.#memoryWatch.untilOverrun(2, overrun.signal),
      toHandOver: this.#memoryWatch.untilOverrun(0.5, overrun.signal),
    };
    if (finding.kind === 'one') {
      const { work, jobId, op } = finding.write;
      log.error(
        facts(finding.write),
        'A statement uses more memory than a write may; setting it aside and replacing this process',
      );
      const error = tookTooMuch(limitBytes);
      await this.#replace([work], () => this.#poison(work, jobId, op, error), tooMuch);
    } else {
      for (const write of finding.writes) {
        log.error(
          facts(write),
          'The process grew by more memory than a write may use while several statements ran; each of them runs apart next',
        );
      }
      const jobIds = finding.writes.map(({ jobId }) => jobId);
      const suspects = finding.writes.map(({ work, jobId, op }) => offenderOf(work, jobId, op));
      const suspect = async () => {
        await Promise.all([
          this.#context.poisoned.suspect(jobIds),
          this.#context.backOff.noteSuspects(suspects),
        ]);
      };
      await this.#replace(
        finding.writes.map(({ work }) => work),
        suspect,
        tooMuch,
      );
    }
    overrun.abort();
  }

  /** A write in the process apart: only that process ends, and this one continues. */
  #onStoppedApart(work: LaneWork, jobId: string, op: number, finding: ApartFinding): void {
    const { config, log } = this.#options;
    const { statementTimeoutMs } = config;
    const error =
      finding.kind === 'memory' ? tookTooMuch(finding.limitBytes) : tookTooLong(statementTimeoutMs);
    log.error(
      { ...factsOfWork(work, jobId, op), ...finding },
      'A statement that ran apart takes too much; setting it aside and ending the process apart',
    );
    // This process has the verdict at once; Redis gets it for successors.
    const { onHeld, onBug } = this.#context;
    this.#poison(work, jobId, op, error)
      .then(isPaused => {
        if (isPaused && !this.#ending) onHeld(work.client.tenant);
      })
      .catch(onBug);
  }

  /** A suspect has run: its tenant had a share in what was found, or none. */
  #onAppliedApart(tenant: string, isCostly: boolean): void {
    const { backOff, onHeld, onBug } = this.#context;
    backOff
      .judgeSuspect(tenant, isCostly)
      .then(isPaused => {
        if (isPaused && !this.#ending) onHeld(tenant);
      })
      .catch(onBug);
  }

  /** @returns whether the tenant is paused now */
  async #poison(work: LaneWork, jobId: string, op: number, error: WireError): Promise<boolean> {
    const { poisoned, backOff } = this.#context;
    const [isPaused] = await Promise.all([
      backOff.note(offenderOf(work, jobId, op)),
      poisoned.poison(jobId, op, error),
    ]);
    return isPaused;
  }

  /**
   * Ends the process because of the statements in some threads; all other work is handed over first.
   * @param note notes them for the successor
   * @param tooLate each resolves when there is no more time for its part
   */
  async #replace(
    works: readonly LaneWork[],
    note: () => Promise<unknown>,
    tooLate?: Readonly<Record<'toNote' | 'toHandOver', Promise<void>>>,
  ): Promise<void> {
    const { log } = this.#options;
    const noted = await Promise.race([
      note().then(() => true),
      Promise.race([pause(CONDEMN_TIMEOUT_MS), ...(tooLate ? [tooLate.toNote] : [])]).then(() => false),
    ]).catch(() => false);
    // Without the note the successor would run the statement again, and note it then.
    if (!noted)
      log.error(
        { tenants: works.map(({ client }) => client.tenant) },
        'Redis did not accept the note about the statement',
      );
    if (this.#ending) return;
    this.#stop();
    // What runs apart may take long; its process ends with this one.
    const held = new Set<unknown>(
      works.map(({ client }) => client).concat(this.#lanes.apart.work?.client ?? []),
    );
    const sessions = [...this.#sessions.values()];
    const others = sessions.filter(session => !held.has(session));
    await Promise.race([
      Promise.all(others.map(session => session.drain())).then(() => this.#handOver(sessions)),
      pause(REPLACE_GRACE_MS),
      ...(tooLate ? [tooLate.toHandOver] : []),
    ]).catch(failure => log.warn({ err: failure }, 'Handing over failed; the lease will expire'));
    // The jobs to blame are known: no other may count as one that ended its process.
    if (noted) removeRunningNotes(this.#options.config.dataDir);
    // process.exit() would wait for the thread. A special signal: it is no crash, and supervisors need not wait.
    process.kill(process.pid, REPLACED_SIGNAL);
  }

  /** If Redis lost its data, the successor would not know in which queues this process left active jobs. */
  #leaveWord(): void {
    const { link, config, log } = this.#options;
    const awake = [...this.#sessions.values()].filter(session => !session.asleep);
    if (awake.length === 0) return;
    const { tenants } = groupKeys(config.group);
    link
      .call('ZADD', tenants, 'GT', ...awake.flatMap(({ tenant }) => [Date.now(), tenant]))
      .catch(error => log.warn({ err: error }, 'The tenants with active jobs could not be listed'));
  }

  /** Requeues jobs that were not begun, notifies their tenants, and releases the lease. */
  async #handOver(sessions: readonly TenantSession[]): Promise<void> {
    const { link, lease, config } = this.#options;
    const now = Date.now();
    const notifications: (string | number)[] = [];
    const settled: string[] = [];
    await Promise.all(
      sessions.map(async session => {
        const hadMore = session.mayHaveMore;
        const returned = await session.requeue();
        if (hadMore || returned > 0) notifications.push(now, session.tenant);
        if (session.held === 0) settled.push(session.tenant);
      }),
    );
    if (notifications.length > 0)
      await link.call('ZADD', groupKeys(config.group).notifications, 'NX', ...notifications);
    if (settled.length > 0) await link.call('SREM', this.#open, ...settled);
    await lease.release();
  }
}

/** Facts about a stopped write, for people. */
function factsOfWork({ client, task }: LaneWork, jobId: string, op: number) {
  const job = task.jobs.find(({ id }) => id === jobId);
  return {
    tenant: client.tenant,
    job: jobId,
    write: op,
    ...(job === undefined ? {} : factsOfWrite(job, op)),
  };
}

/** Whose a stopped write is. */
function offenderOf({ client, task }: LaneWork, jobId: string, op: number): Offender {
  const job = task.jobs.find(({ id }) => id === jobId);
  const { tenant } = client;
  try {
    return { tenant, sender: job && parseWriteJob(job.data).ops[op]?.o };
  } catch {
    return { tenant }; // unreadable: no write of it runs
  }
}

function tookTooLong(statementTimeoutMs: number): WireError {
  return {
    code: 'STATEMENT_TIMEOUT',
    message: `The statement ran longer than ${statementTimeoutMs} ms and was stopped; it was not applied.`,
    details: { statementTimeoutMs },
  };
}

function tookTooMuch(limitBytes: number): WireError {
  return {
    code: 'STATEMENT_TOO_COSTLY',
    message: `The statement used more than ${limitBytes} bytes of memory and was stopped; it was not applied.`,
    details: { limitBytes },
  };
}

function createObservers(config: Config, log: Logger): readonly BatchObserver[] {
  const jobLog = new JobLog({ slowMs: config.slowWriteMs, values: config.logValues, log });
  return config.traceUrl === undefined ? [jobLog] : [jobLog, new WriteSpans()];
}
