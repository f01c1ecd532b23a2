import { formatBytes } from '@onewriter/files';
import { explainReply, LEAST_RIGHTS, LIMITS, REDIS_PROBLEMS, STATUS_BOUNDS } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { bad, type Diagnosis, ok, skipped } from './diagnosis.ts';

/** Looks at Redis: can it lose, evict or refuse what is queued? */
export async function checkRedis(redis: Redis): Promise<Diagnosis[]> {
  const started = performance.now();
  await redis.ping();
  const roundTripMs = performance.now() - started;
  let answer: string;
  try {
    answer = await redis.info();
  } catch (error) {
    const explained = explainReply(error);
    if (explained === undefined) throw error;
    return [
      bad('error', 'redis-rights', explained.message, `ACL SETUSER <user> ${LEAST_RIGHTS}`),
      checkRoundTrip(roundTripMs),
      skipped('redis-role', 'without INFO it is not known; nor are eviction, AOF and memory'),
      await checkClock(redis),
    ];
  }
  const info = parseInfo(answer);
  return [
    checkVersion(info),
    checkRoundTrip(roundTripMs),
    checkRole(info),
    ...checkCluster(info),
    checkEviction(info),
    ...checkPersistence(info, await readFsync(redis)),
    checkMemory(info),
    await checkClock(redis),
  ];
}

/** Lines `name:value`. */
function parseInfo(text: string): ReadonlyMap<string, string> {
  return new Map(
    text
      .split(/\r?\n/)
      .filter(line => line.includes(':'))
      .map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
}

function checkVersion(info: ReadonlyMap<string, string>): Diagnosis {
  const version = info.get('valkey_version') ?? info.get('redis_version') ?? 'unknown';
  const name = info.has('valkey_version') ? 'Valkey' : 'Redis';
  const [major = 0, minor = 0] = (info.get('redis_version') ?? '0').split('.').map(Number);
  if (major > 6 || (major === 6 && minor >= 2)) return ok('redis', `${name} ${version} answers`);
  return bad('error', 'redis', `${name} ${version} is too old.`, 'Install Redis 6.2 or newer, or Valkey.');
}

function checkRoundTrip(ms: number): Diagnosis {
  const found = `${ms.toFixed(1)} ms to Redis and back`;
  if (ms < 20) return ok('redis-latency', found);
  return bad(
    'warning',
    'redis-latency',
    `${found}: every write waits for two of these.`,
    'Put Redis near the broker; look for slow commands with redis-cli SLOWLOG GET.',
  );
}

function checkRole(info: ReadonlyMap<string, string>): Diagnosis {
  if (info.get('role') === 'master') return ok('redis-role', 'it is a primary');
  return bad(
    'error',
    'redis-role',
    'This Redis is a replica: it takes no writes.',
    'Set ONEWRITER_REDIS_URL to the primary, or to the Sentinels (redis+sentinel://…), in all processes.',
  );
}

function checkCluster(info: ReadonlyMap<string, string>): Diagnosis[] {
  if (info.get('cluster_enabled') !== '1') return [];
  const next = 'Set ONEWRITER_REDIS_URL to a Redis without cluster mode, in all processes.';
  return [bad('error', 'redis-cluster', REDIS_PROBLEMS.cluster, next)];
}

function checkEviction(info: ReadonlyMap<string, string>): Diagnosis {
  const policy = info.get('maxmemory_policy') ?? 'unknown';
  if (policy === 'noeviction') return ok('redis-eviction', 'maxmemory-policy is noeviction');
  return bad(
    'error',
    'redis-eviction',
    `maxmemory-policy is ${policy}: when its memory is full, Redis throws queued writes away.`,
    'redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.',
  );
}

async function readFsync(redis: Redis): Promise<string | undefined> {
  try {
    const [, value] = (await redis.config('GET', 'appendfsync')) as string[];
    return value;
  } catch {
    return undefined; // managed servers do not allow CONFIG, nor does the least ACL
  }
}

function checkPersistence(info: ReadonlyMap<string, string>, fsync: string | undefined): Diagnosis[] {
  const diagnoses: Diagnosis[] = [];
  if (info.get('aof_enabled') !== '1') {
    diagnoses.push(
      bad(
        'warning',
        'redis-aof',
        'Redis has no AOF: writes that are queued, and not committed yet, are lost when it restarts.',
        'redis-cli CONFIG SET appendonly yes, and appendonly yes in redis.conf.',
      ),
    );
  } else if (info.get('aof_last_write_status') === 'err') {
    diagnoses.push(
      bad(
        'error',
        'redis-aof',
        'Redis cannot write its AOF.',
        "Look at Redis' log and the space on its disk.",
      ),
    );
  } else if (fsync === 'no') {
    const next = 'redis-cli CONFIG SET appendfsync everysec, and the same in redis.conf.';
    diagnoses.push(bad('warning', 'redis-aof', 'appendfsync is no: up to half a minute can be lost.', next));
  } else {
    const lost = fsync === 'always' ? 'nothing' : 'up to about a second of queued writes';
    const found =
      fsync === undefined ? 'AOF on, appendfsync unknown (no right to CONFIG GET)' : `AOF ${fsync}`;
    diagnoses.push(ok('redis-aof', `${found}: a power failure loses ${lost}`));
  }
  if (info.get('rdb_last_bgsave_status') === 'err') {
    diagnoses.push(
      bad(
        'error',
        'redis-snapshot',
        'The last snapshot of Redis failed; with stop-writes-on-bgsave-error it refuses writes.',
        "Look at Redis' log: the disk is full, or vm.overcommit_memory is 0 (sysctl vm.overcommit_memory=1).",
      ),
    );
  }
  return diagnoses;
}

function checkMemory(info: ReadonlyMap<string, string>): Diagnosis {
  const used = Number(info.get('used_memory') ?? 0);
  const max = Number(info.get('maxmemory') ?? 0);
  if (max === 0) {
    return ok(
      'redis-memory',
      `${formatBytes(used)}, without a limit; a queue is bounded at ${LIMITS.maxQueueDepth} jobs`,
    );
  }
  const found = `${formatBytes(used)} of ${formatBytes(max)}`;
  if (used / max <= STATUS_BOUNDS.redisMemoryShare) return ok('redis-memory', found);
  return bad(
    'error',
    'redis-memory',
    `Redis is nearly full: ${found}. From 90 % on new writes are refused (QUEUE_FULL).`,
    'Raise maxmemory; see which tenants are not applied: onewriter status, onewriter tenants.',
  );
}

async function checkClock(redis: Redis): Promise<Diagnosis> {
  const before = Date.now();
  const [seconds, microseconds] = (await redis.time()).map(Number);
  const after = Date.now();
  const theirs = seconds! * 1_000 + microseconds! / 1_000;
  return judgeClock('Redis', theirs - (before + after) / 2, (after - before) / 2);
}

/** Beyond this, tokens and idempotency keys expire at the wrong time, and logs mislead. */
const SKEW_WARNING_MS = 1_000;
/** What verifiers of tokens allow. */
const SKEW_ERROR_MS = 5_000;

/** @param uncertainMs by which the difference may be wrong */
export function judgeClock(whose: string, differenceMs: number, uncertainMs: number): Diagnosis {
  const surely = Math.max(0, Math.abs(differenceMs) - uncertainMs);
  const found = `the clock of ${whose} is ${(Math.abs(differenceMs) / 1_000).toFixed(1)} s ${differenceMs < 0 ? 'behind' : 'ahead'}`;
  if (surely < SKEW_WARNING_MS) return ok('clock', `the clock of ${whose} agrees with this machine’s`);
  return bad(
    surely < SKEW_ERROR_MS ? 'warning' : 'error',
    'clock',
    `${found[0]!.toUpperCase()}${found.slice(1)} of this machine’s: tokens count as expired or not yet valid, and times in logs mislead.`,
    'Synchronise the clocks (chrony, systemd-timesyncd: timedatectl) on all machines.',
  );
}
