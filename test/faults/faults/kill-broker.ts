import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';

/** The only broker is killed at any moment, also while it starts or begins to lead, and started again. */
export const killBroker: Fault = {
  name: 'kill-broker',
  summary:
    'kill -9 of the only broker at random points, also while it starts; its supervisor starts it again.',
  rig: {},
  rounds: 100,
  async round({ rig, random, say, measure }) {
    const [broker] = rig.brokers;
    // Twice in a row now and then: into the start, the lease, the reclaim.
    const kills = random.weighted({ 1: 3, 2: 1, 3: 1 });
    for (let kill = 1; kill <= Number(kills); kill++) {
      await pause(kill === 1 ? random.between(50, 600) : random.between(0, 700));
      await broker!.kill();
    }
    const recoveredMs = await rig.awaitRecovery();
    measure('ms from the kill to a commit in every tenant', recoveredMs);
    say(`${kills} kills, back after ${Math.round(recoveredMs)} ms`);
  },
};
