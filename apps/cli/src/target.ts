import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { DataPlace } from '@onewriter/files';
import { OnewriterError, readFileIfThere } from '@onewriter/protocol';
import { type Config, loadConfig, signToken } from '@onewriter/runtime';
import type { ConnectOptions } from '@onewriter/sdk';
import { type RunFile, readRunFile } from './run-file.ts';

/** The Onewriter that a command talks to. */
export interface Target {
  readonly config: Config;
  /** Absolute. */
  readonly dataDir: string;
  readonly group: string;
  readonly dbFile: string;
  /** Undefined where nothing runs and no environment variable names one. */
  readonly redisUrl: string | undefined;
  /** Run file of the `onewriter up` that runs on the data directory. */
  readonly run: RunFile | undefined;
  /** The data directory is not on this machine, and the command needs none. Undefined for commands that cannot do without. */
  readonly withoutFiles?: boolean | undefined;
}

/** Options of a command that say where its target is. */
export interface PlaceOptions {
  readonly dataDir?: string | undefined;
  readonly withoutFiles?: boolean | undefined;
}

/** As {@link findTarget}, for a command that needs no files. @throws OnewriterError MISCONFIGURED */
export function findRemoteTarget({ dataDir, withoutFiles = false }: PlaceOptions): Target {
  return { ...findTarget(dataDir), withoutFiles };
}

/**
 * Finds it: environment variables win, then what runs on the data directory says where it is.
 *
 * @param dataDir from the command line; wins over the environment.
 * @throws OnewriterError MISCONFIGURED for a wrong environment variable.
 */
export function findTarget(dataDir: string | undefined): Target {
  const environment = dataDir === undefined ? process.env : { ...process.env, ONEWRITER_DATA_DIR: dataDir };
  const config = loadConfig(environment);
  const directory = resolve(config.dataDir);
  const run = readRunFile(directory);
  return {
    config: { ...config, replicaUrl: config.replicaUrl ?? run?.replicaUrl },
    dataDir: directory,
    run,
    group: process.env['ONEWRITER_GROUP'] ? config.group : (run?.group ?? config.group),
    dbFile: process.env['ONEWRITER_DB_FILE'] ? config.dbFile : (run?.dbFile ?? config.dbFile),
    redisUrl: process.env['ONEWRITER_REDIS_URL'] || run?.redisUrl,
  };
}

/** Where its files lie. */
export function placeOf({ dataDir, group, dbFile, config: { busyTimeoutMs } }: Target): DataPlace {
  return { dataDir, group, dbFile, busyTimeoutMs };
}

/** What a printed command needs behind it, so that it works where it is pasted: the option as it was given. */
export function withDataDir({ dataDir }: { readonly dataDir?: string | undefined }): string {
  return dataDir === undefined
    ? ''
    : ` --data-dir ${/^[\w./-]+$/.test(dataDir) ? dataDir : JSON.stringify(dataDir)}`;
}

/** What lies in a data directory, and in no other folder. */
const MARKS = ['tenants', 'identity', 'onewriter.json', 'up.lock', 'epoch', 'token-secret', 'trash'];

/** Why a folder is no data directory, for a sentence; undefined where it is one. */
export function dataDirTrouble(dataDir: string): string | undefined {
  let names: string[];
  try {
    names = readdirSync(dataDir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return `There is no folder ${dataDir}.`;
    if (code === 'ENOTDIR') return `${dataDir} is no folder.`;
    return `The folder ${dataDir} cannot be read (${code}).`;
  }
  if (names.length === 0) return `The folder ${dataDir} is empty.`;
  if (names.some(name => MARKS.includes(name))) return undefined;
  return `${dataDir} is no data directory of Onewriter: neither tenants nor anything else of it is there.`;
}

/** For commands that read files: in another folder they would say that there is nothing. @throws OnewriterError MISCONFIGURED */
export function requireDataDir({ dataDir }: Target): void {
  const trouble = dataDirTrouble(dataDir);
  if (trouble !== undefined) throw wrongDataDir(trouble);
}

/** For commands that make tenants: a new data directory may be empty, or not there yet. @throws OnewriterError MISCONFIGURED */
export function assertMayFill(target: Target): void {
  if (existsSync(target.dataDir) && readdirSync(target.dataDir).length > 0) requireDataDir(target);
}

function wrongDataDir(trouble: string): OnewriterError {
  return new OnewriterError(
    'MISCONFIGURED',
    `${trouble} Name the data directory with --data-dir or ONEWRITER_DATA_DIR, or go to the folder that holds ./data.`,
  );
}

/** The target's Redis. @throws OnewriterError MISCONFIGURED where there is none, with what to do. */
export function requireRedis(target: Target): string {
  if (target.redisUrl !== undefined) return target.redisUrl;
  const trouble = dataDirTrouble(target.dataDir);
  if (trouble !== undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `${trouble} Name the data directory of a running Onewriter with --data-dir or ONEWRITER_DATA_DIR, or set ONEWRITER_REDIS_URL.`,
    );
  }
  throw new OnewriterError(
    'MISCONFIGURED',
    `Nothing runs on ${target.dataDir}. Start it (npm start), name its folder with --data-dir, or set ONEWRITER_REDIS_URL.`,
  );
}

/** The secret that signs tokens: of the environment, else of the data directory; undefined if there is none. */
export function findTokenSecret(target: Target): string | undefined {
  return target.config.tokenSecret ?? readFileIfThere(join(target.dataDir, 'token-secret'))?.trim();
}

/** Longer than any command runs. */
const TOKEN_LIFE_MS = 7 * 24 * 60 * 60_000;

/** What the SDK needs to reach the target. @throws OnewriterError MISCONFIGURED */
export async function connectOptions(target: Target): Promise<ConnectOptions> {
  const secret = findTokenSecret(target);
  const gatewayUrl = target.run?.gatewayUrl;
  const isNetwork = target.config.dataDirKind === 'network';
  return {
    redis: requireRedis(target),
    dataDir: target.dataDir,
    group: target.group,
    dbFile: target.dbFile,
    gatewayUrl,
    // The SDK looks at the mount, and does not know the setting.
    reads: isNetwork ? (gatewayUrl === undefined ? 'owner' : 'gateway') : undefined,
    maxQueueBytes: target.config.maxQueueBytes,
    maxRedisBytes: target.config.maxRedisBytes,
    token:
      secret === undefined
        ? undefined
        : await signToken(secret, { tenants: '*', access: 'admin' }, { expiresInMs: TOKEN_LIFE_MS }),
  };
}
