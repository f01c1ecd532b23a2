import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { groupKeys, type LeaseRecord, placeOf } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { isTemporary, type RedisLink } from '../queue/redis-link.ts';
import type { DataDirClaim } from './data-dir-claim.ts';
import { readEpochFloor, writeEpochFloor } from './epoch-floor.ts';
import { acquireLease, raiseEpoch, releaseLease, renewLease } from './lease-scripts.ts';
import { findProcess, PROCESS_SPACE } from './process-space.ts';
import type { SecondRedis } from './second-redis.ts';

/*
 *   standby ──(key free, expired, or its holder dead)──▶ held ──renew, every third──▶ held
 *                                                         │
 *                     cannot renew until the lease is over├──▶ expired: no work begins; renewed when Redis is
 *                                                         │     back and no other process led meanwhile
 *                     another holds it                    └──▶ lost: for good
 *
 * The lease decides who tries to lead; the epoch in each file keeps a second leader from committing. An epoch is issued once: by
 * Redis, and never below the one noted in the data directory.
 *
 * A holder is dead if its process on this host is gone, or if its record was not renewed for the life of the lease: each renewal
 * changes the record. The key in Redis expires by Redis' wall clock, which may be set back. So a standby also measures, on its
 * own monotonic clock, how long the record has stayed the same. The holder has stopped by then, because it began to count
 * earlier, when it sent the renewal.
 *
 * Changes of the record run one after the other: a renewal sent with an older epoch than the one that is being acquired would
 * undo it, or look as if another broker led.
 */

/** Settings of a {@link Lease}. */
export interface LeaseOptions {
  readonly group: string;
  readonly dataDir: string;
  /** Life of the lease in ms. */
  readonly leaseMs: number;
  readonly log: Logger;
  /** The claim to the group that a broker must have before it leads. */
  readonly claim?: Pick<DataDirClaim, 'id' | 'claim'> | undefined;
  /** Decides which of two Redis servers with a leader each gives way. */
  readonly secondRedis?: Pick<SecondRedis, 'mayLead' | 'noteLead' | 'renew' | 'giveWay'> | undefined;
}

/** Pause of a standby between two looks. */
const STANDBY_POLL_MS = 100;
/** How much two monotonic clocks may differ, as a share of the lease's life. */
const CLOCK_MARGIN = 0.1;

/** Others' epochs found in the data directory within this time end the lead; see {@link Lease.raise}. */
const CONTEST_WINDOW_MS = 60_000;
const MAX_CONTESTS = 5;
const FIRST_CONTEST_PAUSE_MS = 100;

/**
 * Result of raising the epoch. `overtaken`: another process holds the lease. `contested`: another broker keeps raising its own
 * for the same files, under another Redis.
 */
export type Raised = 'raised' | 'overtaken' | 'contested';

/** The leader lease of a placement group, as one process sees it. */
export class Lease {
  /** The name of this process, and of the owner of its locks. */
  readonly broker = `b-${randomUUID()}`;
  readonly #link: RedisLink;
  readonly #options: LeaseOptions;
  readonly #lease: string;
  readonly #epochKey: string;
  /** The name as it stands in the record. */
  readonly #name = `"broker":"${this.broker}"`;
  #epoch = 0;
  #renewals = 0;
  /** The last change of the record; they run one after the other. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #released = false;
  /** When another broker's epochs were found in the data directory; on the monotonic clock, ms. */
  #contests: number[] = [];
  /** On the monotonic clock: wall clocks jump. */
  #expiresAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #lost = false;
  #renewingInDirectory = false;
  /** ISO time of acquisition. */
  #acquiredAt = '';
  #since = 0;
  #answeredAt = performance.now();
  #contest = '';

  constructor(link: RedisLink, options: LeaseOptions) {
    this.#link = link;
    this.#options = options;
    const keys = groupKeys(options.group);
    this.#lease = keys.lease;
    this.#epochKey = keys.epoch;
  }

  /** The epoch to commit under. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Whether this process may begin work: it holds the lease for certain. */
  get held(): boolean {
    return !this.#lost && performance.now() < this.#expiresAt;
  }

  /** How long it is certainly held without a renewal, in ms; 0 where it is not held. */
  get leftMs(): number {
    return this.held ? Math.max(this.#expiresAt - performance.now(), 0) : 0;
  }

  /** When this process acquired it; ms since the epoch. */
  get since(): number {
    return this.#since;
  }

  /** When Redis last reported the holder; on the monotonic clock, in ms. */
  get answeredAt(): number {
    return this.#answeredAt;
  }

  /** Which broker gave way to which, for people; '' before {@link raise} returned `contested`. */
  get contest(): string {
    return this.#contest;
  }

  /** Waits until this process leads. @returns false where `signal` was aborted first. */
  async acquire(signal: AbortSignal): Promise<boolean> {
    let reported: string | undefined;
    let seen = { record: '', since: 0 };
    while (!signal.aborted) {
      try {
        await this.#options.claim?.claim();
        if ((await this.#options.secondRedis?.mayLead()) === false) {
          this.#answeredAt = performance.now();
          await pause(STANDBY_POLL_MS);
          continue;
        }
        const holder = await this.#tryAcquire('');
        if (holder === undefined) return true;
        const record = JSON.parse(holder) as LeaseRecord;
        if (record.broker !== reported) {
          reported = record.broker;
          const { broker, host, pid, epoch, since } = record;
          this.#options.log.info(
            { leader: { broker, host, pid, epoch, since } },
            'Standing by: another broker leads',
          );
        }
        const now = performance.now();
        if (holder !== seen.record) seen = { record: holder, since: now };
        // No need to wait. If another standby was faster, or the holder renewed just now, this changes nothing.
        const over = findProcess(record) === 'gone' || isOver(record, now - seen.since);
        if (over && (await this.#tryAcquire(holder)) === undefined) return true;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        // The holder could not renew it either.
        seen = { record: '', since: 0 };
        await this.#link.ready();
      }
      await pause(STANDBY_POLL_MS);
    }
    return false;
  }

  /** Keeps the lease; calls `onLost` once when another process has it, or may have had it. */
  keep(onLost: (reason: string) => void): void {
    const everyMs = Math.max(Math.floor(this.#options.leaseMs / 3), 10);
    let renewing = false;
    this.#timer = setInterval(async () => {
      // Not after the renewal in Redis, which may hang.
      void this.#renewInDirectory(onLost);
      if (renewing || this.#lost) return;
      renewing = true;
      try {
        await this.#inTurn(() => this.#renew(onLost));
      } catch (error) {
        // Redis is away: tried again until it is back; `held` turns false meanwhile.
        this.#options.log.debug({ err: error }, 'The lease could not be renewed');
      } finally {
        renewing = false;
      }
    }, everyMs);
  }

  /** Finds a leader of another Redis with a newer epoch here, before the two meet in a file. */
  async #renewInDirectory(onLost: (reason: string) => void): Promise<void> {
    if (this.#renewingInDirectory || this.#lost || this.#released) return;
    this.#renewingInDirectory = true;
    const reason = await this.#options.secondRedis?.renew(() => this.#epoch);
    this.#renewingInDirectory = false;
    if (reason === undefined || this.#lost || this.#released) return;
    this.#lost = true;
    clearInterval(this.#timer);
    onLost(reason);
  }

  async #renew(onLost: (reason: string) => void): Promise<void> {
    if (this.#released || this.#lost) return;
    const { leaseMs } = this.#options;
    const sentAt = performance.now();
    this.#renewals++;
    const record = `{"epoch":${this.#epoch},${this.#tail()}`;
    const kept = await this.#link.run(renewLease, [
      ...[this.#lease, this.#epochKey],
      ...[this.#name, record, leaseMs, this.#epoch],
    ]);
    if (kept === 1) {
      this.#expiresAt = sentAt + leaseMs;
      return;
    }
    this.#lost = true;
    clearInterval(this.#timer);
    onLost('another broker acquired the lease, or Redis lost its data');
  }

  /**
   * Acquires a higher epoch than `above`, which a file has seen: a restored copy's, or one issued by a Redis that lost its data.
   * If another broker noted a higher one in the data directory, it leads the same files under another Redis: the epoch is raised
   * with growing pauses, and after some times no more: one of the two gives way (second-redis.ts).
   */
  async raise(above: number): Promise<Raised> {
    // Outside the turn: meanwhile the lease is renewed.
    if (await this.#isContested()) return 'contested';
    return this.#inTurn(() => this.#raise(above));
  }

  async #isContested(): Promise<boolean> {
    const floor = readEpochFloor(this.#options.dataDir);
    if (floor <= this.#epoch) return false;
    const now = performance.now();
    this.#contests = [...this.#contests.filter(at => at > now - CONTEST_WINDOW_MS), now];
    const contests = this.#contests.length;
    if (contests > MAX_CONTESTS) {
      const { secondRedis } = this.#options;
      const contest = secondRedis === undefined ? '' : secondRedis.giveWay(this.#epoch, floor);
      this.#contest = contest ?? '';
      this.#contests = [];
      return contest !== undefined;
    }
    if (contests > 1) await pause(FIRST_CONTEST_PAUSE_MS * 2 ** (contests - 2));
    return false;
  }

  async #raise(above: number): Promise<Raised> {
    const { dataDir, leaseMs } = this.#options;
    return this.#link.retryUntilDone(async () => {
      if (this.#released) return 'overtaken';
      const sentAt = performance.now();
      const epoch = (await this.#link.run(raiseEpoch, [
        ...[this.#lease, this.#epochKey],
        ...[this.#name, Math.max(above, readEpochFloor(dataDir)), leaseMs, this.#tail(), this.#epoch],
      ])) as number;
      if (epoch === 0) return 'overtaken';
      this.#lead(epoch, sentAt);
      return 'raised';
    });
  }

  /** Releases the lease, so that a standby need not wait. Idempotent. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#expiresAt = Number.NEGATIVE_INFINITY;
    if (this.#released || this.#epoch === 0) return;
    // No change of the record is sent from now on; earlier ones arrive before this.
    this.#released = true;
    await this.#link.run(releaseLease, [this.#lease, this.#name]);
  }

  /** Runs a change of the record when all earlier ones are done. */
  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastChange.then(change);
    this.#lastChange = turn.catch(() => {}); // its caller gets the error
    return turn;
  }

  /** @returns the record of the holder; undefined: this process holds it. */
  async #tryAcquire(deadHolder: string): Promise<string | undefined> {
    const sentAt = performance.now();
    this.#acquiredAt = new Date().toISOString();
    const [epoch, record] = (await this.#link.run(acquireLease, [
      this.#lease,
      this.#epochKey,
      readEpochFloor(this.#options.dataDir),
      this.#options.leaseMs,
      deadHolder,
      this.#tail(),
    ])) as [number, string];
    this.#answeredAt = performance.now();
    if (epoch === 0) return record;
    this.#lead(epoch, sentAt);
    return undefined;
  }

  #lead(epoch: number, sentAt: number): void {
    this.#epoch = epoch;
    if (this.#since === 0) this.#since = Date.now();
    this.#expiresAt = sentAt + this.#options.leaseMs;
    // Before the epoch: a broker that finds the epoch finds this, too.
    this.#options.secondRedis?.noteLead(epoch);
    try {
      writeEpochFloor(this.#options.dataDir, epoch);
    } catch (error) {
      // It matters only if Redis loses its data, too; then the files show it (see raise).
      this.#options.log.warn({ err: error, epoch }, 'The epoch could not be noted in the data directory');
    }
  }

  /** A LeaseRecord as JSON, without its beginning: Redis puts the epoch in front. */
  #tail(): string {
    const record = {
      broker: this.broker,
      host: hostname(),
      processes: PROCESS_SPACE,
      pid: process.pid,
      dataDir: { id: this.#options.claim?.id ?? '', path: placeOf(this.#options.dataDir).path },
      since: this.#acquiredAt,
      leaseMs: this.#options.leaseMs,
      renewals: this.#renewals,
    } satisfies Omit<LeaseRecord, 'epoch'>;
    return JSON.stringify(record).slice(1);
  }
}

/** Whether a record that stayed the same for so long is over. Without renewals in it, only Redis can say. */
function isOver({ renewals, leaseMs }: LeaseRecord, unchangedMs: number): boolean {
  if (renewals === undefined || leaseMs === undefined) return false;
  return unchangedMs > leaseMs * (1 + CLOCK_MARGIN) + STANDBY_POLL_MS;
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => void setTimeout(resolve, ms));
}
