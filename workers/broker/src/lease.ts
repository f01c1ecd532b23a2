import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { groupKeys, type LeaseRecord } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { readEpochFloor, writeEpochFloor } from './epoch-floor.ts';
import { acquireLease, raiseEpoch, releaseLease, renewLease } from './lease-scripts.ts';
import { isTemporary, type RedisLink } from './redis-link.ts';

/*
 *   standby ──(key free, expired, or its holder dead)──▶ held ──renew, every third──▶ held
 *                                                         │
 *                     cannot renew until the lease is over├──▶ expired: nothing is begun; renewed when Redis is
 *                                                         │     back and nobody led meanwhile
 *                     another holds it                    └──▶ lost: for good
 *
 * The lease decides who tries to lead; what keeps a second leader from committing is the epoch in each file. An epoch
 * is given out once: by Redis, and never below the one noted in the data directory.
 */

/** Settings of a {@link Lease}. */
export interface LeaseOptions {
  readonly group: string;
  readonly dataDir: string;
  /** Life of the lease in ms. */
  readonly leaseMs: number;
  readonly log: Logger;
}

/** Pause of a standby between two looks. */
const STANDBY_POLL_MS = 100;

/** The leader lease of a placement group, as one process sees it. */
export class Lease {
  /** Names this process, and owns its locks. */
  readonly broker = `b-${randomUUID()}`;
  readonly #link: RedisLink;
  readonly #options: LeaseOptions;
  readonly #lease: string;
  readonly #epochKey: string;
  #record = '';
  #epoch = 0;
  /** On the monotonic clock: wall clocks jump. */
  #expiresAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #lost = false;
  #since = 0;
  #answeredAt = performance.now();

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

  /** Waits until this process leads. @returns false where `signal` was aborted first. */
  async acquire(signal: AbortSignal): Promise<boolean> {
    let reported = '';
    while (!signal.aborted) {
      try {
        const holder = await this.#tryAcquire('');
        if (holder === undefined) return true;
        if (holder !== reported) {
          reported = holder;
          const { broker, host, pid, epoch, since } = JSON.parse(holder) as LeaseRecord;
          this.#options.log.info(
            { leader: { broker, host, pid, epoch, since } },
            'Standing by: another broker leads',
          );
        }
        // A leader that died on this host needs no waiting for.
        if (isDead(holder) && (await this.#tryAcquire(holder)) === undefined) return true;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        await this.#link.ready();
      }
      await new Promise<void>(resolve => void setTimeout(resolve, STANDBY_POLL_MS));
    }
    return false;
  }

  /** Keeps the lease; calls `onLost` once when another process has it, or may have had it. */
  keep(onLost: (reason: string) => void): void {
    const everyMs = Math.max(Math.floor(this.#options.leaseMs / 3), 10);
    let renewing = false;
    this.#timer = setInterval(async () => {
      if (renewing || this.#lost) return;
      renewing = true;
      const sentAt = performance.now();
      try {
        const kept = await this.#link.run(renewLease, [
          this.#lease,
          this.#epochKey,
          this.#record,
          this.#options.leaseMs,
          this.#epoch,
        ]);
        if (kept === 1) this.#expiresAt = sentAt + this.#options.leaseMs;
        else if (this.#timer !== undefined) {
          this.#lost = true;
          clearInterval(this.#timer);
          onLost('another broker took the lease, or Redis lost its data');
        }
      } catch (error) {
        // Redis is away: tried again until it is back; `held` turns false meanwhile.
        this.#options.log.debug({ err: error }, 'The lease could not be renewed');
      } finally {
        renewing = false;
      }
    }, everyMs);
  }

  /**
   * Takes a higher epoch than `above`, which a file has seen: of a restored copy, or given out by a Redis that lost its
   * data. @returns false where this process does not hold the lease: then that epoch is a newer leader's.
   */
  async raise(above: number): Promise<boolean> {
    const sentAt = performance.now();
    const floor = Math.max(above, readEpochFloor(this.#options.dataDir));
    const [epoch, record] = (await this.#link.insist(() =>
      this.#link.run(raiseEpoch, [
        this.#lease,
        this.#epochKey,
        this.#record,
        floor,
        this.#options.leaseMs,
        this.#tail(),
      ]),
    )) as [number, string];
    if (epoch === 0) return false;
    this.#lead(epoch, record, sentAt);
    return true;
  }

  /** Gives the lease up, so that a standby need not wait. Idempotent. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#expiresAt = Number.NEGATIVE_INFINITY;
    if (this.#record !== '') await this.#link.run(releaseLease, [this.#lease, this.#record]);
    this.#record = '';
  }

  /** @returns the record of who holds it; undefined: this process. */
  async #tryAcquire(deadHolder: string): Promise<string | undefined> {
    const sentAt = performance.now();
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
    this.#lead(epoch, record, sentAt);
    return undefined;
  }

  #lead(epoch: number, record: string, sentAt: number): void {
    this.#epoch = epoch;
    this.#record = record;
    if (this.#since === 0) this.#since = Date.now();
    this.#expiresAt = sentAt + this.#options.leaseMs;
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
      since: new Date().toISOString(),
    } satisfies Omit<LeaseRecord, 'epoch'>;
    return JSON.stringify(record).slice(1);
  }
}

/** Within what process ids can be compared: this boot of this kernel, and its process namespace. */
const PROCESS_SPACE = readProcessSpace();

function readProcessSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return ''; // not Linux: a dead leader's lease has to run out
  }
}

/** Whether a lease's holder was a process here and is no more. */
function isDead(record: string): boolean {
  const { processes, pid } = JSON.parse(record) as LeaseRecord;
  if (processes === '' || processes !== PROCESS_SPACE) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
