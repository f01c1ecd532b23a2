import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startRedis } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { findFaketimeForRedis } from '../faketime.ts';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';

const LEASE_MS = 1_000;
/** The lease, what clocks may differ by, and a busy machine. */
const MAX_TAKE_OVER_MS = 2.5 * LEASE_MS;
/** By how much a server that is only tried is off. */
const TRIED_SECONDS = 3_600;

let preload = '';

/** The lease in Redis expires by Redis' wall clock, which is put back and forward. */
export const redisClock: Fault = {
  name: 'redis-clock',
  summary:
    'The clock of Redis jumps by up to a day (faketime), and the leader is stopped: a standby leads soon all the same.',
  prepare: async ({ folder }) => {
    preload = await findFaketimeForRedis();
    await assertClockMoves(join(folder, 'clock-tried'));
    return async () => {};
  },
  rig: ({ folder }) => {
    const file = clockFile(folder);
    if (!existsSync(file)) setClock(file, 0);
    return {
      brokers: 2,
      env: { ONEWRITER_LEASE_MS: String(LEASE_MS) },
      redis: { appendonly: 'always', env: clockEnv(file) },
    };
  },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 500));
    const leader = await rig.leader();
    for (const broker of rig.brokers) await broker.waitUntilReady();
    const seconds = random.pick([5, 3_600, 86_400]) * (random.oneIn(3) ? 1 : -1);
    setClock(clockFile(join(rig.dataDir, '..')), seconds);
    await assertOffBy(rig.direct, seconds);
    await pause(random.between(0, 300));
    // Its process is there, so nothing but the lease says that it does not lead.
    const standby = rig.brokers.find(broker => broker !== leader)!;
    leader.signal('SIGSTOP');
    const stoppedAt = performance.now();
    try {
      await rig.untilLeads(standby);
      const takenMs = performance.now() - stoppedAt;
      measure('ms from SIGSTOP to the lead of the standby', takenMs);
      if (takenMs > MAX_TAKE_OVER_MS) {
        throw new FaultFailure(
          `The clock of Redis is off by ${seconds} s, and the standby led only after ${Math.round(takenMs)} ms.`,
        );
      }
    } finally {
      leader.signal('SIGCONT');
    }
    await rig.awaitRecovery();
    say(`Redis is off by ${seconds} s`);
  },
};

function clockFile(folder: string): string {
  return join(folder, 'clock-redis');
}

/** By rename: Redis asks for the time at any moment, and an empty file has none. */
function setClock(file: string, seconds: number): void {
  writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}`);
  renameSync(`${file}.new`, file);
}

function clockEnv(file: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: preload,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
}

/** @throws CannotInject where Redis does not start so, or has the machine's clock all the same. */
async function assertClockMoves(file: string): Promise<void> {
  setClock(file, TRIED_SECONDS);
  try {
    await using server = await startRedis({ appendonly: 'always', env: clockEnv(file) });
    const redis = new Redis(server.url);
    try {
      await assertOffBy(redis, TRIED_SECONDS);
    } finally {
      redis.disconnect();
    }
  } catch (error) {
    if (error instanceof CannotInject) throw error;
    throw new CannotInject(`Redis does not start with LD_PRELOAD="${preload}": ${(error as Error).message}`);
  }
}

/** @throws CannotInject where the clock of Redis is not what was set: the round would show nothing. */
async function assertOffBy(redis: Redis, seconds: number): Promise<void> {
  const [now] = (await redis.time()) as readonly (string | number)[];
  const offBy = Number(now) - Date.now() / 1_000;
  if (Math.abs(offBy - seconds) <= 2) return;
  throw new CannotInject(
    `The clock of Redis is off by ${Math.round(offBy)} s, not by ${seconds} s as it was set.`,
  );
}
