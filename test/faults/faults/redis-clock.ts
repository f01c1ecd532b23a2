import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findFaketime } from '../faketime.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';

const LEASE_MS = 1_000;
/** The lease, what clocks may differ by, and a busy machine. */
const MAX_TAKE_OVER_MS = 2.5 * LEASE_MS;

let library = '';

/** The lease's life in Redis ends by the clock on Redis' wall, which is put back and forward. */
export const redisClock: Fault = {
  name: 'redis-clock',
  summary:
    'The clock of Redis jumps by up to a day (faketime), and the leader is stopped: a standby leads soon all the same.',
  prepare: async () => {
    library = await findFaketime();
    return async () => {};
  },
  rig: ({ folder }) => {
    const file = clockFile(folder);
    if (!existsSync(file)) writeFileSync(file, '+0');
    return {
      brokers: 2,
      env: { ONEWRITER_LEASE_MS: String(LEASE_MS) },
      redis: {
        appendonly: 'always',
        env: {
          LD_PRELOAD: library,
          FAKETIME_TIMESTAMP_FILE: file,
          FAKETIME_NO_CACHE: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
        },
      },
    };
  },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 500));
    const leader = await rig.leader();
    for (const broker of rig.brokers) await broker.waitUntilReady();
    const seconds = random.pick([5, 3_600, 86_400]) * (random.oneIn(3) ? 1 : -1);
    writeFileSync(clockFile(join(rig.dataDir, '..')), `${seconds < 0 ? '' : '+'}${seconds}`);
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
