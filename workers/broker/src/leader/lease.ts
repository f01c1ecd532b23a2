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
 *                     cannot renew until the lease is over├──▶ expired: nothing is begun; renewed when Redis is
 *                                                         │     back and nobody led meanwhile
 *                     another holds it                    └──▶ lost: for good
 *
 * The lease decides who tries to lead; what keeps a second leader from committing is the epoch in each file. An epoch
 * is given out once: by Redis, and never below the one noted in the data directory.
 *
 * A holder is dead where its process on this host is gone, or where its record was not renewed for as long as it lives:
 * each renewal changes the record. The key's life in Redis ends by the clock on Redis' wall, which may be put back; a
 * standby therefore also looks for how long the record has stayed the same, on its own monotonic clock. The holder has
 * stopped by then, because its own count began earlier, when it sent the renewal.
 *
 * Whatever changes the record is done one after the other: a renewal that was sent with an older epoch than the one that
 * is being taken would undo it, or look as if somebody else led.
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
  /** Which of two Redis servers with a leader each gives way. */
  readonly secondRedis?: Pick<SecondRedis, 'mayLead' | 'noteLead' | 'renew' | 'giveWay'> | undefined;
}

/** Pause of a standby between two looks. */
const STANDBY_POLL_MS = 100;
/** What two monotonic clocks may differ by, as a share of the lease's life. */
const CLOCK_MARGIN = 0.1;

/** Others' epochs that were met in the data directory within this time end the lead; see {@link Lease.raise}. */
const CONTEST_WINDOW_MS = 60_000;
const MAX_CONTESTS = 5;
const FIRST_CONTEST_PAUSE_MS = 100;

/**
 * How it went to raise the epoch. `overtaken`: another process holds the lease. `contested`: another broker raises its
 * own for the same files, again and again, under another Redis.
 */
export type Raised = 'raised' | 'overtaken' | 'contested';

/** The leader lease of a placement group, as one process sees it. */
export class Lease {
  /** Names this process, and owns its locks. */
  readonly broker = `b-${randomUUID()}`;
  readonly #link: RedisLink;
  readonly #options: LeaseOptions;
  readonly #lease: string;
  readonly #epochKey: string;
  /** Its name in the record. */
  readonly #name = `"broker":"${this.broker}"`;
  #epoch = 0;
  #renewals = 0;
  /** What changes the record, one after the other. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #released = false;
  /** When another broker's epochs were met in the data directory; on the monotonic clock, ms. */
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

  /** How long it is held for certain unless it is renewed, in ms; 0 where it is not held. */
  get leftMs(): number {
    return this.held ? Math.max(this.#expiresAt - performance.now(), 0) : 0;
  }

  /** When it began to be held by this process; ms since the epoch. */
  get since(): number {
    return this.#since;
  }

  /** When Redis last told who holds it; on the monotonic clock, in ms. */
  get answeredAt(): number {
    return this.#answeredAt;
  }

  /** Who gave way to whom, for people; '' before {@link raise} said `contested`. */
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
        // It needs no waiting for; and where another looked first, or it was renewed just now, nothing happens.
        const over = findProcess(record) === 'gone' || isOver(record, now - seen.since);
        if (over && (await this.#tryAcquire(holder)) === undefined) return true;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        // Its holder could not renew it either.
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
      // Not behind the renewal in Redis, which may not answer.
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

  /** A leader of another Redis that took an epoch since is found here, before the two meet in a file. */
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
    onLost('another broker took the lease, or Redis lost its data');
  }

  /**
   * Takes a higher epoch than `above`, which a file has seen: of a restored copy, or given out by a Redis that lost its
   * data. Where another broker noted a higher one in the data directory it leads the same files under another Redis: the
   * epoch is raised with growing pauses, and after some times no more: one of both gives way (second-redis.ts).
   */
  async raise(above: number): Promise<Raised> {
    // Outside of its turn: meanwhile the lease is renewed.
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
    return this.#link.insist(async () => {
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

  /** Gives the lease up, so that a standby need not wait. Idempotent. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#expiresAt = Number.NEGATIVE_INFINITY;
    if (this.#released || this.#epoch === 0) return;
    // Nothing that changes the record is sent from now on; what was sent comes before this.
    this.#released = true;
    await this.#link.run(releaseLease, [this.#lease, this.#name]);
  }

  /** Runs what changes the record when all that was begun before is done. */
  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastChange.then(change);
    this.#lastChange = turn.catch(() => {}); // its caller hears
    return turn;
  }

  /** @returns the record of who holds it; undefined: this process. */
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
    // Before the epoch: whoever finds that one finds this.
    this.#options.secondRedis?.noteLead(epoch);
    try {
      writeEpochFloor(this.#options.dataDir, epoch);
    } catch (error) {
      // It matters only if Redis loses its data, too; then the files themselves tell (see raise).
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

/** Whether a record that stayed the same for so long is over. One that is not renewed in it has Redis' word only. */
function isOver({ renewals, leaseMs }: LeaseRecord, unchangedMs: number): boolean {
  if (renewals === undefined || leaseMs === undefined) return false;
  return unchangedMs > leaseMs * (1 + CLOCK_MARGIN) + STANDBY_POLL_MS;
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => void setTimeout(resolve, ms));
}
