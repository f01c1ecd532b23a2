import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findFaketime } from '../faketime.ts';
import type { Fault } from '../fault.ts';

let library = '';

/** The brokers' clocks jump, each for itself, forwards and backwards. */
export const clockJumps: Fault = {
  name: 'clock-jumps',
  summary:
    "The brokers' clocks jump by seconds to days, each for itself (faketime): no second leader, and not none.",
  prepare: async () => {
    library = await findFaketime();
    return async () => {};
  },
  // A clock that jumps by more than a day makes the ledger's rows old; the newest stay.
  judgeBy: { ledgerMayBePruned: true },
  rig: ({ folder }) => ({
    brokers: 2,
    brokerEnv: (_start, broker) => {
      const file = clockFile(folder, broker);
      if (!existsSync(file)) writeFileSync(file, '+0');
      return {
        LD_PRELOAD: library,
        FAKETIME_TIMESTAMP_FILE: file,
        FAKETIME_NO_CACHE: '1',
        // Deadlines and leases use the monotonic clock, which does not jump.
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
    },
  }),
  rounds: 20,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const broker = random.integer(rig.brokers.length);
    const seconds = random.pick([1, 5, 60, 3_600, 86_400, 400 * 86_400]) * (random.oneIn(2) ? -1 : 1);
    writeFileSync(clockFile(join(rig.dataDir, '..'), broker), `${seconds < 0 ? '' : '+'}${seconds}`);
    await pause(random.between(200, 2_500));
    const leader = await rig.leader();
    if (random.oneIn(4)) await leader.kill();
    const recoveredMs = await rig.awaitRecovery();
    say(`broker ${broker} is off by ${seconds} s, back after ${Math.round(recoveredMs)} ms`);
  },
};

function clockFile(folder: string, broker: number): string {
  return join(folder, `clock-${broker}`);
}
