import { resolve } from 'node:path';
import {
  chooseOpenReaders,
  DEFAULT_DB_FILE,
  DEFAULT_GROUP,
  isSentinelUrl,
  LIMITS,
  OnewriterError,
  parseSentinelUrl,
  REDIS_PROBLEMS,
  readProcessRoom,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { REDIS_TIMES } from './redis/redis-connection.ts';
import type { ConnectOptions, ReadRoute, SdkLogger } from './types.ts';

/** {@link ConnectOptions} with defaults applied, checked once. */
export interface ResolvedOptions {
  readonly redis: string | Redis;
  /** Absolute. */
  readonly dataDir: string | undefined;
  /** Without a slash at the end. */
  readonly gatewayUrl: string | undefined;
  readonly token: string | undefined;
  readonly reads: ReadRoute | 'auto';
  readonly group: string;
  readonly dbFile: string;
  readonly tracing: boolean;
  readonly logger: SdkLogger;
  readonly connectTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly busyTimeoutMs: number;
  readonly maxOpenReaders: number;
  readonly maxResultRows: number;
  readonly maxQueueBytes: number;
  readonly maxRedisBytes: number;
  readonly maxSnapshotLogBytes: number;
}

const DEFAULTS = Object.freeze({
  reads: 'auto',
  tracing: false,
  group: DEFAULT_GROUP,
  dbFile: DEFAULT_DB_FILE,
  connectTimeoutMs: REDIS_TIMES.connectTimeoutMs,
  writeTimeoutMs: LIMITS.writeTimeoutMs,
  busyTimeoutMs: LIMITS.busyTimeoutMs,
  maxResultRows: LIMITS.maxResultRows,
  maxQueueBytes: LIMITS.maxQueueBytes,
  maxRedisBytes: 0,
  maxSnapshotLogBytes: LIMITS.maxSnapshotLogBytes,
  logger: Object.freeze({ warn: () => {}, error: () => {} }),
} as const);

/** Checks the options of connect(). @throws OnewriterError INVALID_ARGUMENT naming the option */
export function resolveOptions(options: ConnectOptions): ResolvedOptions {
  if (options === null || typeof options !== 'object') refuse('connect() takes an object of options.');
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const chosen = { maxOpenReaders: chooseOpenReaders(readProcessRoom()) };
  const merged = { ...DEFAULTS, ...chosen, ...(given as unknown as ConnectOptions) } as typeof DEFAULTS &
    typeof chosen &
    ConnectOptions;
  const { redis, dataDir, gatewayUrl, token, reads, group, dbFile, logger } = merged;
  if (typeof redis === 'string') {
    if (!isSentinelUrl(redis)) assertUrl('redis', redis, ['redis:', 'rediss:']);
    else if (!canParseSentinelUrl(redis)) {
      refuse(
        'The option redis must look like redis+sentinel://host:port,host:port/name where it lists Sentinels.',
      );
    }
  } else if (typeof redis?.duplicate === 'function' && isCluster(redis)) {
    throw new OnewriterError('MISCONFIGURED', REDIS_PROBLEMS.cluster);
  } else if (typeof redis?.duplicate !== 'function') {
    refuse('The option redis must be a redis:// or rediss:// URL, or an ioredis Redis instance.');
  }
  if (typeof redis !== 'string' && redis.options.keyPrefix) {
    // Others would not find the keys; Onewriter's own prefixes carry the placement group and the tenant.
    refuse('The option redis must be an instance without keyPrefix.');
  }
  if (gatewayUrl !== undefined) assertUrl('gatewayUrl', gatewayUrl, ['http:', 'https:']);
  if (dataDir !== undefined && (typeof dataDir !== 'string' || dataDir === '' || dataDir.includes('\0'))) {
    refuse('The option dataDir must be the path of a folder.');
  }
  if (token !== undefined && typeof token !== 'string') refuse('The option token must be a string.');
  if (!['auto', 'file', 'gateway', 'owner'].includes(reads)) {
    refuse('The option reads is auto, file, gateway or owner.');
  }
  if (typeof group !== 'string' || !/^[a-z0-9-]{1,40}$/.test(group)) {
    refuse('The option group must be 1 to 40 of a-z, 0-9 and hyphens.');
  }
  if (typeof dbFile !== 'string' || !/^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(dbFile)) {
    refuse('The option dbFile must be a file name, without folders.');
  }
  if (typeof merged.tracing !== 'boolean') refuse('The option tracing is true or false.');
  if (typeof logger?.warn !== 'function' || typeof logger.error !== 'function') {
    refuse('The option logger must have the functions warn and error.');
  }
  assertWhole('connectTimeoutMs', merged.connectTimeoutMs, 1, REDIS_TIMES.connectTimeoutMs);
  assertWhole('writeTimeoutMs', merged.writeTimeoutMs, 1, LIMITS.maxTimeoutMs);
  assertWhole('busyTimeoutMs', merged.busyTimeoutMs, 0, LIMITS.maxTimeoutMs);
  assertWhole('maxOpenReaders', merged.maxOpenReaders, 1, 100_000);
  assertWhole('maxResultRows', merged.maxResultRows, 1, 0xffff_ffff);
  assertWhole('maxQueueBytes', merged.maxQueueBytes, 1, Number.MAX_SAFE_INTEGER);
  assertWhole('maxRedisBytes', merged.maxRedisBytes, 0, Number.MAX_SAFE_INTEGER);
  assertWhole('maxSnapshotLogBytes', merged.maxSnapshotLogBytes, 1, Number.MAX_SAFE_INTEGER);
  return Object.freeze({
    redis,
    dataDir: dataDir === undefined ? undefined : resolve(dataDir),
    gatewayUrl: gatewayUrl?.replace(/\/+$/, ''),
    token,
    reads,
    group,
    dbFile,
    tracing: merged.tracing,
    logger,
    connectTimeoutMs: merged.connectTimeoutMs,
    writeTimeoutMs: merged.writeTimeoutMs,
    busyTimeoutMs: merged.busyTimeoutMs,
    maxOpenReaders: merged.maxOpenReaders,
    maxResultRows: merged.maxResultRows,
    maxQueueBytes: merged.maxQueueBytes,
    maxRedisBytes: merged.maxRedisBytes,
    maxSnapshotLogBytes: merged.maxSnapshotLogBytes,
  });
}

function isCluster(redis: object): boolean {
  return 'isCluster' in redis && redis.isCluster === true;
}

function canParseSentinelUrl(url: string): boolean {
  try {
    return parseSentinelUrl(url) !== undefined;
  } catch {
    return false;
  }
}

function assertUrl(option: string, value: unknown, protocols: readonly string[]): void {
  // The value may hold a password: it stays out of the message.
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (url && protocols.includes(url.protocol)) return;
  refuse(`The option ${option} must be a URL that begins with ${protocols.map(p => `${p}//`).join(' or ')}.`);
}

function assertWhole(option: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  refuse(`The option ${option} must be a whole number from ${min} to ${max}.`);
}

function refuse(message: string): never {
  throw new OnewriterError('INVALID_ARGUMENT', message);
}
