import { readFileIfThere } from './read-file-if-there.ts';

/*
 * Two brokers that lead one data directory through a Redis each. What is said of it lies in the directory, the one place that
 * both have (ADR 0032).
 */

/** From where a broker leads, or led. */
export interface LedFrom {
  /** An id that Redis keeps for the group: the same for all brokers of one Redis, however they name it. */
  readonly redisId: string;
  /** As the broker has it, without credentials. */
  readonly redis: string;
  readonly group: string;
  readonly host: string;
  readonly pid: number;
  readonly epoch: number;
}

/** What is in `<dataDir>/second-redis`: brokers of `gaveWay` lead no more before nobody leads through the other. */
export interface SecondRedisNote {
  /** ISO time. */
  readonly at: string;
  readonly gaveWay: LedFrom;
  /** Undefined where it is not known, as of an older broker. */
  readonly other?: LedFrom | undefined;
}

/** `<dataDir>/second-redis` */
export function secondRedisFile(dataDir: string): string {
  return `${dataDir}/second-redis`;
}

/** `<dataDir>/leader`: a {@link LedFrom} of who took an epoch last. */
export function lastLeaderFile(dataDir: string): string {
  return `${dataDir}/leader`;
}

/** Undefined where there is none, or what is there cannot be understood. @throws Error of the file system */
export function readSecondRedisNote(dataDir: string): SecondRedisNote | undefined {
  const note = readJson<SecondRedisNote>(secondRedisFile(dataDir));
  return typeof note?.gaveWay?.redisId === 'string' ? (note as SecondRedisNote) : undefined;
}

/** Undefined as of {@link readSecondRedisNote}. @throws Error of the file system */
export function readLastLeader(dataDir: string): LedFrom | undefined {
  const leader = readJson<LedFrom>(lastLeaderFile(dataDir));
  return typeof leader?.redisId === 'string' && Number.isSafeInteger(leader.epoch)
    ? (leader as LedFrom)
    : undefined;
}

/** JSON that another process wrote; the caller checks its shape. */
function readJson<Value>(path: string): Partial<Value> | undefined {
  const text = readFileIfThere(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // its writer wrote something else
  }
}

/** A URL of Redis for people: without user, password and options. */
export function withoutCredentials(url: string): string {
  return url.replace(/\/\/.*@/, '//').replace(/[?#].*$/, '');
}

/** For people: who gave way to whom, and since when. */
export function describeSecondRedis(dataDir: string, { at, gaveWay, other }: SecondRedisNote): string {
  return (
    `Two brokers led the files in ${dataDir} through two Redis servers: ${describe(gaveWay)} gave way at ${at} ` +
    `to ${other === undefined ? 'another, which is not known' : describe(other)}.`
  );
}

function describe({ redis, group, host, pid }: LedFrom): string {
  return `the one through ${redis}, group "${group}" (${host}, pid ${pid})`;
}

/** What is to be done about it. */
export const SECOND_REDIS_REMEDY =
  'Give all brokers of a data directory the same ONEWRITER_REDIS_URL and ONEWRITER_GROUP, or stop those of the other Redis.';
