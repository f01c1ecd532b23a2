import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivateFile } from './private-file.ts';

/** Process ids of the children of `onewriter up`. */
export interface ChildPids {
  /** The first broker. */
  readonly broker: number;
  readonly gateway: number;
  readonly dashboard: number;
  /** 0 where the Redis is the caller's. */
  readonly redis: number;
  /** All brokers, the first included; absent in a file of an earlier version. */
  readonly brokers?: readonly number[] | undefined;
}

/** What `onewriter up` leaves in `<dataDir>/onewriter.json` while it runs, for the other commands to find it. */
export interface RunFile {
  /** The process of `onewriter up`. */
  readonly pid: number;
  /** ISO time. */
  readonly startedAt: string;
  readonly gatewayUrl: string;
  readonly dashboardUrl: string;
  /** The first broker. */
  readonly brokerUrl: string;
  /** All brokers, the first included, in the order of `pids.brokers`. */
  readonly brokerUrls: readonly string[];
  /** With its password: the file is readable by its owner alone. */
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly group: string;
  readonly dbFile: string;
  /** Its brokers' ONEWRITER_REPLICA_URL, which has no secrets. */
  readonly replicaUrl?: string | undefined;
  readonly pids: ChildPids;
  /** Whether a spare process waits to take the place of the broker; absent in a file of an earlier version. */
  readonly spareBroker?: boolean | undefined;
}

const FILE_NAME = 'onewriter.json';

/** Writes the run file, whole or not at all. */
export function writeRunFile(run: RunFile): void {
  writePrivateFile(join(run.dataDir, FILE_NAME), `${JSON.stringify(run, null, 2)}\n`);
}

/** The run file of a data directory; undefined where nothing runs, or what is there is not one. */
export function readRunFile(dataDir: string): RunFile | undefined {
  try {
    const run = JSON.parse(readFileSync(join(dataDir, FILE_NAME), 'utf8')) as RunFile;
    return typeof run.redisUrl === 'string' && typeof run.pids === 'object' ? run : undefined;
  } catch {
    return undefined; // not there, or not readable for this user: the caller asks for settings then
  }
}

export function removeRunFile(dataDir: string): void {
  rmSync(join(dataDir, FILE_NAME), { force: true });
}
