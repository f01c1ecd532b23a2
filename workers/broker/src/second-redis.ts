import { randomUUID } from 'node:crypto';
import { linkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import {
  describeSecondRedis,
  groupKeys,
  type LedFrom,
  lastLeaderFile,
  readFileIfThere,
  readLastLeader,
  readSecondRedisNote,
  SECOND_REDIS_REMEDY,
  type SecondRedisNote,
  secondRedisFile,
  withoutCredentials,
} from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { defineScript, type RedisLink } from './redis-link.ts';
import { clockFile, SAVE_CLOCK_EVERY_MS } from './retention-clock.ts';

/*
 * Two Redis servers with a leader each on one data directory: each finds the other's epochs in the files and raises its own
 * past them. One gives way, and its supervisor starts it again. It must not begin anew (ADR 0032):
 *
 *             epochs contested (lease.ts)             the clock of the directory stood still for 30 s
 *   leading ─────────────────────────────▶ gave way ─────────────────────────────────────────────────▶ leading
 *                                          (a note in the directory, no broker of this Redis leads)
 */

/** A leader notes the clock of the data directory this often: one that is silent for three times as long is gone. */
export const SILENT_MS = 3 * SAVE_CLOCK_EVERY_MS;

/** KEYS the id · ARGV a new one. A delete first lets the write through where Redis is full: see queue-scripts.ts. */
const identifyRedis = defineScript(
  1,
  `
local id = redis.call('GET', KEYS[1])
if id then return id end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]`,
);

/** Settings of a {@link SecondRedis}. */
export interface SecondRedisOptions {
  readonly link: Pick<RedisLink, 'run'>;
  readonly group: string;
  readonly dataDir: string;
  readonly redisUrl: string;
  readonly log: Logger;
}

/** Whether another broker leads the files of this data directory through another Redis, and which of both gives way. */
export class SecondRedis {
  readonly #options: SecondRedisOptions;
  #redisId = '';
  #finding: string | undefined;
  /** What the clock of the directory last said, and since when; on the monotonic clock, ms. */
  #clock = { text: '', since: 0 };

  constructor(options: SecondRedisOptions) {
    this.#options = options;
  }

  /** Why no broker of this Redis leads, for people; undefined where one may. */
  get finding(): string | undefined {
    return this.#finding;
  }

  /** Asked before each look at the lease. @throws Error of Redis or of the file system */
  async mayLead(): Promise<boolean> {
    const { dataDir, log } = this.#options;
    const note = readSecondRedisNote(dataDir);
    if (note !== undefined || this.#redisId === '') this.#redisId = await this.#identify();
    if (note === undefined || note.gaveWay.redisId !== this.#redisId) {
      if (this.#finding !== undefined) log.info('No broker of this Redis has to give way any more');
      this.#finding = undefined;
      return true;
    }
    const silentMs = this.#silentMs();
    if (silentMs >= SILENT_MS) {
      if (this.#finding !== undefined) {
        log.warn(
          { silentMs: Math.round(silentMs) },
          'Nobody leads these files through another Redis any more: this broker may lead',
        );
      }
      this.#finding = undefined;
      return true;
    }
    if (this.#finding === undefined) {
      this.#finding =
        `${describeSecondRedis(dataDir, note)} No broker of this Redis leads before the other has been silent for ` +
        `${SILENT_MS / 1_000} s. ${SECOND_REDIS_REMEDY}`;
      log.error({ gaveWay: note.gaveWay, other: note.other }, this.#finding);
    }
    return false;
  }

  /** This process took an epoch, and notes it next. */
  noteLead(epoch: number): void {
    const { dataDir, log } = this.#options;
    try {
      write(lastLeaderFile(dataDir), this.#here(epoch));
      if (readSecondRedisNote(dataDir)?.gaveWay.redisId === this.#redisId) rmSync(secondRedisFile(dataDir));
    } catch (error) {
      log.warn({ err: error, epoch }, 'Who leads could not be noted in the data directory');
    }
  }

  /**
   * Epochs are contested.
   * @param epoch that this process leads with
   * @param floor the newest in the data directory
   * @returns what is to be said at the end of this process; undefined where the other gave way meanwhile
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
      // Both may want to at once: the first does.
      linkSync(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const before = readSecondRedisNote(dataDir);
      // Unless epochs were taken since: then it went on, and its note is of another time.
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
    const redis = withoutCredentials(redisUrl);
    return { redisId: this.#redisId, redis, group, host: hostname(), pid: process.pid, epoch };
  }

  async #identify(): Promise<string> {
    const { link, group } = this.#options;
    return String(await link.run(identifyRedis, [groupKeys(group).redisId, randomUUID()]));
  }

  /** For how long no leader has noted the clock of the directory, as far as this process saw it. */
  #silentMs(): number {
    const now = performance.now();
    const text = readFileIfThere(clockFile(this.#options.dataDir)) ?? '';
    if (text !== this.#clock.text || this.#clock.since === 0) this.#clock = { text, since: now };
    return now - this.#clock.since;
  }
}

function write(path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(value)}\n`);
  renameSync(temporary, path);
}
