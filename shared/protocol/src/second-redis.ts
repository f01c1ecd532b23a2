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
  /** 0: it has not led. */
  readonly epoch: number;
  /** Id of the broker process. Undefined for an older broker, which renews nothing in the directory. */
  readonly broker?: string | undefined;
  /** Within what its process id can be compared; see LeaseRecord. */
  readonly processes?: string | undefined;
  /** It has ended, and says so. */
  readonly ended?: boolean | undefined;
}

/**
 * What is in `<dataDir>/second-redis`: brokers of `gaveWay` do not lead while one of the other does. One that has not led gave
 * way before it began.
 */
export interface SecondRedisNote {
  /** ISO time. */
  readonly at: string;
  readonly gaveWay: LedFrom;
  /** Undefined where it is not known, as of an older broker. */
  readonly other?: LedFrom | undefined;
  /** ISO time at which a broker of `gaveWay` that has not led was last there. */
  readonly seen?: string | undefined;
}

/** `<dataDir>/second-redis` */
export function secondRedisFile(dataDir: string): string {
  return `${dataDir}/second-redis`;
}

/** `<dataDir>/leader`: the {@link LedFrom} of the broker that took the latest epoch. It sets the file's time with each renewal of its lease. */
export function lastLeaderFile(dataDir: string): string {
  return `${dataDir}/leader`;
}

/** A note of a broker that has not led is valid for this long after the broker last renewed it. */
const NOTE_LIFE_MS = 60_000;

/** Undefined where there is none that counts, or what is there cannot be understood. @throws Error of the file system */
export function readSecondRedisNote(dataDir: string): SecondRedisNote | undefined {
  const note = parseJson<SecondRedisNote>(readFileIfThere(secondRedisFile(dataDir)));
  if (typeof note?.gaveWay?.redisId !== 'string') return undefined;
  const isOld = note.seen !== undefined && Math.abs(Date.now() - Date.parse(note.seen)) > NOTE_LIFE_MS;
  return isOld ? undefined : (note as SecondRedisNote);
}

/** Undefined as of {@link readSecondRedisNote}. @throws Error of the file system */
export function readLastLeader(dataDir: string): LedFrom | undefined {
  return parseLastLeader(readFileIfThere(lastLeaderFile(dataDir)));
}

/** What is in {@link lastLeaderFile}. */
export function parseLastLeader(text: string | undefined): LedFrom | undefined {
  const leader = parseJson<LedFrom>(text);
  return typeof leader?.redisId === 'string' && Number.isSafeInteger(leader.epoch)
    ? (leader as LedFrom)
    : undefined;
}

/** JSON that another process wrote; the caller checks its shape. */
function parseJson<Value>(text: string | undefined): Partial<Value> | undefined {
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
  if (gaveWay.epoch === 0 && other !== undefined) {
    return (
      `The files in ${dataDir} are led through another Redis: ${describeLedFrom(other)} leads, ` +
      `and ${describeLedFrom(gaveWay)} stands by since ${at}.`
    );
  }
  return (
    `Two brokers led the files in ${dataDir} through two Redis servers: ${describeLedFrom(gaveWay)} gave way at ${at} ` +
    `to ${other === undefined ? 'another, which is not known' : describeLedFrom(other)}.`
  );
}

/** For people: through which Redis a broker leads, or led. */
export function describeLedFrom({ redis, group, host, pid }: LedFrom): string {
  return `the broker through ${redis}, group "${group}" (${host}, pid ${pid})`;
}

/** What is to be done about it. */
export const SECOND_REDIS_REMEDY =
  'Give all brokers of a data directory the same ONEWRITER_REDIS_URL and ONEWRITER_GROUP, or stop those of the other Redis.';
