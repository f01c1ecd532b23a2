import { randomUUID } from 'node:crypto';
import { linkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import {
  describeSecondRedis,
  groupKeys,
  type LedFrom,
  lastLeaderFile,
  parseLastLeader,
  readFileIfThere,
  readLastLeader,
  readSecondRedisNote,
  SECOND_REDIS_REMEDY,
  type SecondRedisNote,
  secondRedisFile,
  withoutCredentials,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';
import { IDENTIFY_REDIS } from './lua-scripts.ts';
import { findProcess, PROCESS_SPACE } from './process-space.ts';
import { clockFile } from './retention-clock.ts';

/*
 * Two Redis servers, and brokers of both on one data directory: the lease of each is free, and the directory is the only place
 * where they meet (ADR 0032, 0039). The leader notes itself there, in `leader`, and sets the time of that file with each renewal
 * of its lease, whether Redis answers or not:
 *
 *             a broker of another Redis leads              that broker is gone
 *   standby ─────────────────────────────▶ stands aside ────────────────────▶ leading
 *                                               ▲                                │ renews
 *                                               └── ends and is restarted ───────┘ another Redis's broker has a newer epoch
 */

/** A leader that renews nothing for so long is gone. If its process still exists, it may only be stopped: see SILENT_MS. */
export const RENEWAL_SILENT_MS = 10_000;
/** How long brokers of a Redis that stood aside wait for a successor on the other side, which is restarted, or moved. */
export const SILENT_MS = 30_000;
/** As {@link SILENT_MS}, for a Redis that led until a broker of another acquired an epoch. */
export const BACK_AFTER_MS = 10_000;
/** How often a broker that stands aside notes its presence. */
const NOTE_EVERY_MS = 10_000;

/** Addresses that mean the local machine, with or without a name. */
const LOOPBACK = /^[\w+]+:\/\/(localhost|127\.|\[::1\]|\/)/;

/** See identify-redis.lua. */
const identifyRedis = defineScript(1, IDENTIFY_REDIS);

/** Settings of a {@link SecondRedis}. */
export interface SecondRedisOptions {
  readonly link: Pick<RedisLink, 'run'>;
  readonly group: string;
  readonly dataDir: string;
  readonly redisUrl: string;
  readonly log: Logger;
}

/** The last seen state of a leader of another Redis. */
interface SeenLeader {
  /** Changes with each renewal. */
  readonly state: string;
  /** On the monotonic clock, ms. */
  readonly since: number;
}

/** Finds out whether another broker leads this data directory through another Redis, and which of the two gives way. */
export class SecondRedis {
  readonly #options: SecondRedisOptions;
  /** The name of this process. */
  readonly #broker = `b-${randomUUID()}`;
  #redisId = '';
  #finding: string | undefined;
  #seen: SeenLeader = { state: '', since: 0 };
  /** A leader of another Redis was seen alive. */
  #stoodAside = false;
  /** On the monotonic clock, ms. */
  #notedAt = Number.NEGATIVE_INFINITY;
  #warned = false;
  /** Why the notes in the directory cannot be read; undefined where they can. */
  #unreadable: string | undefined;

  constructor(options: SecondRedisOptions) {
    this.#options = options;
  }

  /** Why no broker of this Redis leads, for people; undefined where one may. */
  get finding(): string | undefined {
    return this.#unreadable ?? this.#finding;
  }

  /** Asked before each look at the lease. @throws Error of Redis */
  async mayLead(): Promise<boolean> {
    const { log } = this.#options;
    // Each time: a Redis that lost its data has a new id.
    this.#redisId = await this.#identify();
    try {
      const mayLead = this.#judge();
      if (this.#unreadable !== undefined)
        log.info({}, 'The leader note in the data directory can be read again');
      this.#unreadable = undefined;
      return mayLead;
    } catch (error) {
      this.#cannotRead(error);
      return false;
    }
  }

  /** Another user's file, or a disk in trouble: without a message a broker would stand by for good. */
  #cannotRead(error: unknown): void {
    const { dataDir, log } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    const before = this.#unreadable;
    this.#unreadable =
      `The leader note in the data directory cannot be read (${reason}), and this broker does not lead until it can. ` +
      `Give this user the right to read and write ${lastLeaderFile(dataDir)} and ${secondRedisFile(dataDir)}, ` +
      'or remove them while no broker runs.';
    if (before !== this.#unreadable) log.error({ err: error }, this.#unreadable);
  }

  /** @throws Error of the file system */
  #judge(): boolean {
    const { dataDir } = this.#options;
    const leader = readLastLeader(dataDir);
    if (leader === undefined || this.#isThisRedis(leader)) return this.#allow();
    const note = this.#ownNote();
    // An older broker renews nothing: it certainly leads only if a broker of this Redis gave way to it.
    if (leader.broker === undefined && note === undefined) return this.#allow();
    const isOver = leader.ended === true || findProcess(leader) === 'gone';
    const { renewed, silentMs } = this.#look(leader);
    if (renewed && !isOver) this.#stoodAside = true;
    if (silentMs >= this.#waitMs(leader, isOver, note)) return this.#allow();
    this.#standAside(leader, note);
    return false;
  }

  /** How long a leader of another Redis must have been silent. */
  #waitMs(leader: LedFrom, isOver: boolean, note: SecondRedisNote | undefined): number {
    const hasLed = note !== undefined && note.gaveWay.epoch > 0;
    if (!hasLed && (this.#stoodAside || note !== undefined)) return SILENT_MS;
    if (isOver) return hasLed ? BACK_AFTER_MS : 0;
    const mayBeStopped = leader.broker === undefined || findProcess(leader) === 'there';
    return mayBeStopped ? SILENT_MS : RENEWAL_SILENT_MS;
  }

  /** Looks whether a leader renewed its note, as far as this process saw. */
  #look(leader: LedFrom): { renewed: boolean; silentMs: number } {
    const { dataDir } = this.#options;
    const now = performance.now();
    const renewedAt = statSync(lastLeaderFile(dataDir), { throwIfNoEntry: false })?.mtimeMs;
    // An older broker's sign of life is the clock of the directory, which it notes every 10 s.
    const clock = leader.broker === undefined ? readFileIfThere(clockFile(dataDir)) : '';
    const state = `${JSON.stringify(leader)} ${renewedAt} ${clock}`;
    const renewed = this.#seen.state !== '' && state !== this.#seen.state;
    if (state !== this.#seen.state) this.#seen = { state, since: now };
    return { renewed, silentMs: now - this.#seen.since };
  }

  #allow(): true {
    if (this.#finding !== undefined) {
      this.#options.log.warn(
        {},
        'No broker leads these files through another Redis any more; this one may lead',
      );
    }
    this.#finding = undefined;
    this.#stoodAside = false;
    this.#seen = { state: '', since: 0 };
    return true;
  }

  #standAside(leader: LedFrom, before: SecondRedisNote | undefined): void {
    const { dataDir, log } = this.#options;
    const now = performance.now();
    const at = new Date().toISOString();
    const note = before ?? { at, gaveWay: this.#here(0), other: leader };
    if (this.#finding === undefined) {
      this.#finding =
        `${describeSecondRedis(dataDir, note)} No broker of this Redis leads before the other is gone for ` +
        `${(note.gaveWay.epoch === 0 ? SILENT_MS : BACK_AFTER_MS) / 1_000} s. ${SECOND_REDIS_REMEDY}`;
      log.error({ code: 'MISCONFIGURED', gaveWay: note.gaveWay, other: note.other }, this.#finding);
    }
    if (note.gaveWay.epoch !== 0 || !this.#stoodAside || now - this.#notedAt < NOTE_EVERY_MS) return;
    this.#notedAt = now;
    this.#note({ ...note, seen: at });
  }

  /** This process acquired an epoch, and notes it next. */
  noteLead(epoch: number): void {
    const { dataDir, log } = this.#options;
    try {
      write(lastLeaderFile(dataDir), this.#here(epoch));
      if (this.#ownNote() !== undefined) rmSync(secondRedisFile(dataDir), { force: true });
    } catch (error) {
      log.warn({ err: error, epoch }, 'Could not note the leader in the data directory');
    }
  }

  /**
   * Notes in the directory that this process still leads. Renews only the file's time, which needs no disk space.
   * @param epoch that it leads with
   * @returns why it may lead no more: another broker acquired an epoch since
   */
  async renew(epoch: () => number): Promise<string | undefined> {
    const { dataDir, log } = this.#options;
    try {
      const leader = await this.#renewOwn(lastLeaderFile(dataDir));
      this.#warned = false;
      if (leader === 'renewed') return undefined;
      if (leader === undefined || leader.epoch < epoch()) this.noteLead(epoch());
      else return this.#yieldTo(leader, epoch());
    } catch (error) {
      if (!this.#warned) {
        log.warn(
          { err: error },
          'Could not renew the lead in the data directory: a broker of another Redis may treat this one as gone',
        );
      }
      this.#warned = true;
    }
    return undefined;
  }

  /** @returns the leader in the file, if it is another process; undefined if the file names none */
  async #renewOwn(path: string): Promise<'renewed' | LedFrom | undefined> {
    let file: FileHandle;
    try {
      file = await open(path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const leader = parseLastLeader(await file.readFile('utf8'));
      if (leader?.broker !== this.#broker) return leader;
      // By descriptor: the file that was read, not one that was renamed to its path meanwhile.
      const now = new Date();
      await file.utimes(now, now);
      return 'renewed';
    } finally {
      await file.close();
    }
  }

  #yieldTo(leader: LedFrom, epoch: number): string {
    if (this.#isThisRedis(leader))
      return `another broker acquired epoch ${leader.epoch} for the files of this one`;
    const note: SecondRedisNote = { at: new Date().toISOString(), gaveWay: this.#here(epoch), other: leader };
    this.#note(note);
    return `${describeSecondRedis(this.#options.dataDir, note)} ${SECOND_REDIS_REMEDY}`;
  }

  /** This process has released the files: a broker of another Redis need not wait until it is silent. */
  noteEnd(): void {
    const { dataDir, log } = this.#options;
    try {
      const leader = readLastLeader(dataDir);
      if (leader?.broker === this.#broker) write(lastLeaderFile(dataDir), { ...leader, ended: true });
    } catch (error) {
      log.warn({ err: error }, 'Could not note the end of the lead in the data directory');
    }
  }

  /**
   * Called when epochs are contested.
   * @param epoch that this process leads with
   * @param floor the newest in the data directory
   * @returns the message at the end of this process; undefined where the other gave way meanwhile
   */
  giveWay(epoch: number, floor: number): string | undefined {
    const { dataDir } = this.#options;
    const path = secondRedisFile(dataDir);
    const last = readLastLeader(dataDir);
    const other = last !== undefined && last.epoch >= floor ? last : undefined;
    const note: SecondRedisNote = { at: new Date().toISOString(), gaveWay: this.#here(epoch), other };
    const temporary = `${path}.${process.pid}.tmp`;
    writeFileSync(temporary, `${JSON.stringify(note)}\n`);
    try {
      // Both brokers may try at once: the first succeeds.
      linkSync(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const before = readSecondRedisNote(dataDir);
      // If newer epochs exist, that broker leads again, and its note is out of date.
      if (before !== undefined && before.gaveWay.redisId !== this.#redisId && before.gaveWay.epoch >= floor)
        return undefined;
      renameSync(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
    return describeSecondRedis(dataDir, note);
  }

  #here(epoch: number): LedFrom {
    const { group, redisUrl } = this.#options;
    return {
      redisId: this.#redisId,
      redis: withoutCredentials(redisUrl),
      group,
      host: hostname(),
      pid: process.pid,
      epoch,
      broker: this.#broker,
      processes: PROCESS_SPACE,
    };
  }

  /**
   * Whether the lease of this Redis keeps that leader and this process apart. A Redis that lost its data has a new id at the same
   * address, and its leader finds that, too. A loopback address on another host is another server.
   */
  #isThisRedis({ redisId, redis, group, host }: LedFrom): boolean {
    if (redisId === this.#redisId) return true;
    const here = this.#here(0);
    if (redis !== here.redis || group !== here.group) return false;
    return host === here.host || !LOOPBACK.test(redis);
  }

  /** The note of a broker of this Redis. */
  #ownNote(): SecondRedisNote | undefined {
    const note = readSecondRedisNote(this.#options.dataDir);
    return note?.gaveWay.redisId === this.#redisId ? note : undefined;
  }

  #note(note: SecondRedisNote): void {
    const { dataDir, log } = this.#options;
    try {
      write(secondRedisFile(dataDir), note);
    } catch (error) {
      log.warn({ err: error }, 'Could not note in the data directory that two Redis servers are used');
    }
  }

  async #identify(): Promise<string> {
    const { link, group } = this.#options;
    return String(await link.run(identifyRedis, [groupKeys(group).redisId, randomUUID()]));
  }
}

function write(path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(value)}\n`);
  renameSync(temporary, path);
}
