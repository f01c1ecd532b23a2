import { setTimeout as pause } from 'node:timers/promises';
import {
  type BrokerStatus,
  groupKeys,
  isOnewriterError,
  readBranchNotification,
  readDurabilityNotification,
  readReleaseNotification,
  TENANT_ID_PATTERN,
  toWireError,
} from '@onewriter/protocol';
import type { StatusPublisher } from '../observe/status/status-publisher.ts';
import { Doorbell } from '../queue/doorbell.ts';
import { FinishedJobs } from '../queue/finished-jobs.ts';
import { readRunningNotes, removeRunningNotes } from '../recovery/running-notes.ts';
import { HeldFiles } from '../replica/held-files.ts';
import { HeldTenants } from '../tenant/held-tenants.ts';
import { closeHeldTenant } from './close-held.ts';
import { createServices } from './create-services.ts';
import { drainLeader } from './drain.ts';
import { EpochRaise } from './epoch-raise.ts';
import { listActiveTenants } from './hand-over.ts';
import { CLOSE_IDLE_EVERY_MS, closeIdleTenants } from './idle-close.ts';
import type { LeaderOptions } from './leader-options.ts';
import type { LeaderParts } from './leader-parts.ts';
import { LeaderPhase } from './leader-phase.ts';
import { createStatus, readLeaderFacts } from './leader-status.ts';
import { OpenSessions, RENEW_LOCKS_EVERY_MS } from './open-sessions.ts';
import { ReclaimAndSweep } from './reclaim-and-sweep.ts';
import { DataDirClock, SAVE_CLOCK_EVERY_MS } from './retention-clock.ts';
import { StoppedWrites } from './stopped-writes.ts';

/*
 *   doorbell ─┐
 *   sweep ────┼─▶ TenantSession (one per tenant with work) ─▶ Lanes ─▶ writer threads
 *   reclaim ──┘        │  ▲
 *                      ▼  │ fetch, finish
 *                 TenantQueue, InboxEvents, DeadLetters ─▶ Redis
 *
 * The files of its parts:
 *
 *   create-services.ts  what sessions share          open-sessions.ts      the tenants with work
 *   leader-phase.ts     preparing, leading, ending   reclaim-and-sweep.ts  work without a notification
 *   leader-status.ts    what people see              idle-close.ts         closes tenants without work
 *   epoch-raise.ts      a file knows a newer epoch   close-held.ts         closes tenants that are held
 *   drain.ts            the orderly end              stopped-writes.ts     writes that take too much
 *   hand-over.ts        leaves work to a successor   replace-process.ts    ends the process because of a write
 */

/** Between two claims of the group. */
const CLAIM_EVERY_MS = 2_000;
const PUMP_EVERY_MS = 50;
/** How long work waits for the replicator to start. */
const REPLICA_WAIT_MS = 2_000;
/** The same where only the store has the durabilities of tenants: it reads the state of all of them first. */
const DURABILITIES_WAIT_MS = 15_000;

/** All that one process does while it leads. */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #parts: LeaderParts;
  readonly #phase: LeaderPhase;
  readonly #clock: DataDirClock;
  readonly #held: HeldTenants;
  readonly #doorbell: Doorbell;
  readonly #work: ReclaimAndSweep;
  readonly #finishedJobs: FinishedJobs;
  readonly #stoppedWrites: StoppedWrites;
  readonly #status: StatusPublisher;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(options: LeaderOptions) {
    const { config, log, link, lease } = options;
    this.#options = options;
    this.#phase = new LeaderPhase(options.onEnd, log);
    this.#clock = new DataDirClock(config.dataDir, log);
    const epochs = new EpochRaise(lease, this.#phase, config.dataDir, log);
    const created = createServices(options, this.#phase, this.#clock, {
      onStopped: (work, jobId, op, finding) => this.#stoppedWrites.onStoppedApart(work, jobId, op, finding),
      onApplied: (tenant, isCostly) => this.#stoppedWrites.onAppliedApart(tenant, isCostly),
      onFenced: (tenant, error) => epochs.onFenced(tenant, error),
      onHeld: tenant => this.#held.giveWay(tenant),
      finishSoon: session => sessions.finishSoon(session),
      tryFile: tenant => sessions.of(tenant).tryFile(),
    });
    const { services } = created;
    const sessions = new OpenSessions(options, services);
    const heldFiles = new HeldFiles(config, change => created.shipping?.note(change));
    this.#parts = { options, phase: this.#phase, sessions, ...created };
    this.#held = new HeldTenants({
      link,
      group: config.group,
      log,
      epoch: () => lease.epoch,
      close: async (tenant, isForPerson, holders) => {
        await closeHeldTenant(this.#parts, this.#doorbell, tenant, isForPerson);
        if (holders.includes('hibernate')) created.shipping?.note({ kind: 'shorten', tenant });
        heldFiles.held(tenant);
      },
      onEnded: tenant => {
        services.offenders.onResumed(tenant);
        const change = heldFiles.freed(tenant);
        if (!services.parked.mayBeMended(tenant)) return;
        // A session would register a deleted tenant again.
        if (change === 'deleted') services.parked.release(tenant, 'Its database was deleted');
        // Its holder may have mended it, and it may be long until its next write.
        else sessions.of(tenant).tryFile();
      },
      onFree: tenant => sessions.of(tenant).notify(),
      onFenced: (tenant, error) => epochs.onFenced(tenant, toWireError(error)),
      onBug: services.onBug,
    });
    this.#doorbell = new Doorbell({
      link: options.notificationLink,
      key: groupKeys(config.group).notifications,
      onNotified: tenants => this.#onNotified(tenants),
      fetcher: tenant => sessions.find(tenant),
      log,
    });
    this.#work = new ReclaimAndSweep(this.#parts, this.#held);
    this.#finishedJobs = new FinishedJobs(link, config.group, log);
    this.#status = createStatus(this.#parts, () => this.#work.idleJobs);
    this.#stoppedWrites = new StoppedWrites(this.#parts, () => this.#stop());
  }

  /** Listens, and reclaims the last leader's jobs. Resolves when the doorbell listens, or it was stopped before. */
  async start(): Promise<void> {
    const { config } = this.#options;
    const { poisoned, parked, replacements, offenders } = this.#parts.services;
    const { durabilities } = this.#parts;
    const died = readRunningNotes(config.dataDir);
    await replacements.noteDeaths(died.epochs);
    await Promise.all([poisoned.load(), parked.load(), replacements.load(), durabilities.start()]);
    // Their files stay closed, and none of their jobs are reclaimed.
    for (const tenant of await offenders.load()) this.#held.release(tenant);
    if (this.#phase.isEnding) return;
    this.#status.start();
    // All are counted before the first may run again.
    await poisoned.countLastCrashes(died);
    removeRunningNotes(config.dataDir);
    // Where the store is away, replication begins later; what may have to wait for it is refused until then.
    await this.#parts.shipping?.started(durabilities.areKnown ? REPLICA_WAIT_MS : DURABILITIES_WAIT_MS);
    if (this.#phase.isEnding) return;
    this.#phase.lead();
    this.#lead();
  }

  #lead(): void {
    const { config, link, notificationLink, lease, log } = this.#options;
    const { phase, services, sessions } = this.#parts;
    const { lanes } = services;
    void this.#doorbell.listen();
    this.#work.run().catch(phase.onBug);
    void this.#finishedJobs.run();
    const idleClose = {
      sessions,
      idleCloseMs: config.idleCloseMs,
      closeFile: lanes.closeTenant.bind(lanes),
      log,
    };
    this.#every(CLOSE_IDLE_EVERY_MS, () => closeIdleTenants(idleClose));
    this.#every(CLOSE_IDLE_EVERY_MS, () => this.#parts.hibernation?.tick());
    this.#every(RENEW_LOCKS_EVERY_MS, () => sessions.renewLocks());
    this.#every(SAVE_CLOCK_EVERY_MS, () => {
      // Once overtaken, its count is behind its successor's.
      if (lease.held) this.#clock.save();
    });
    // Work that a lost lease delayed continues when the lease is held again.
    this.#every(PUMP_EVERY_MS, () => lanes.pump());
    this.#every(CLAIM_EVERY_MS, () => void this.#claim());
    link.redis.on('ready', () => sessions.notifyAll());
    notificationLink.redis.on('ready', () => {
      if (!phase.isEnding) this.#parts.durabilities.load().catch(phase.onBug);
    });
  }

  #every(intervalMs: number, run: () => void): void {
    this.#timers.push(setInterval(run, intervalMs));
  }

  /** If Redis lost its data and another installation claimed the group first, this process has to end. */
  async #claim(): Promise<void> {
    if (this.#phase.isEnding) return;
    try {
      await this.#options.claim.claim();
    } catch (error) {
      // All other errors pass, such as an outage of Redis: it claims again soon.
      if (!isOnewriterError(error) || error.details.reason !== 'another data directory') return;
      this.#phase.end(error.message);
    }
  }

  #onNotified(tenants: readonly string[]): void {
    const { sessions } = this.#parts;
    for (const tenant of tenants) {
      const released = readReleaseNotification(tenant);
      const changed = readDurabilityNotification(tenant);
      const branched = readBranchNotification(tenant);
      if (TENANT_ID_PATTERN.test(tenant)) {
        if (!this.#held.onNotified(tenant)) sessions.of(tenant).notify();
      } else if (released !== undefined) this.#held.release(released);
      else if (changed !== undefined) this.#parts.durabilities.onNotified(changed).catch(this.#phase.onBug);
      else if (branched !== undefined) this.#parts.branches.onNotified(branched).catch(this.#phase.onBug);
      else this.#options.log.warn({ tenant: tenant.slice(0, 80) }, 'Notification without a valid tenant id');
    }
  }

  /** Facts for people and probes. */
  facts() {
    return readLeaderFacts(this.#parts);
  }

  /** The last published status; undefined at the very beginning. */
  get status(): BrokerStatus | undefined {
    return this.#status.status;
  }

  /**
   * Finishes what was begun and hands the rest over; see {@link drainLeader}.
   * @returns false where a thread is still at work or has files open: a signal has to end the process.
   */
  async drain(drainMs: number): Promise<boolean> {
    this.#stop();
    return drainLeader(this.#parts, drainMs);
  }

  /**
   * Begins nothing more and waits for the threads' current work, not for its answers: this process does not lead.
   * @returns false where a thread is still at work after `graceMs`.
   */
  async halt(graceMs: number): Promise<boolean> {
    this.#stop();
    listActiveTenants(this.#parts);
    const { lanes } = this.#parts.services;
    return Promise.race([lanes.idle().then(() => true), pause(graceMs).then(() => false)]);
  }

  /** Begins nothing more. Idempotent. */
  #stop(): void {
    if (!this.#phase.stop()) return;
    this.#status.stop();
    this.#doorbell.stop();
    this.#work.stop();
    this.#finishedJobs.stop();
    this.#stoppedWrites.stop();
    this.#parts.apart.close();
    for (const timer of this.#timers) clearInterval(timer);
    this.#parts.sessions.stop();
    this.#parts.services.lanes.pause();
  }
}
