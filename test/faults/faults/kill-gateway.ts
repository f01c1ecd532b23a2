import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import { HASTY_CLIENT } from '../rig.ts';

/** The gateway is killed under the load of callers that write and read through it. */
export const killGateway: Fault = {
  name: 'kill-gateway',
  summary: 'kill -9 of the gateway at random points, under callers of its HTTP endpoints.',
  rig: { clients: [{ via: 'gateway' }, { via: 'gateway', ...HASTY_CLIENT }, {}] },
  rounds: 100,
  async round({ rig, random, say, measure }) {
    const gateway = rig.gateway!;
    await gateway.waitUntilReady();
    await pause(random.between(100, 900));
    const killedAt = performance.now();
    await gateway.kill();
    // Into its start now and then.
    if (random.oneIn(4)) {
      await pause(random.between(0, 300));
      await gateway.kill();
    }
    await gateway.waitUntilReady();
    const readyMs = performance.now() - killedAt;
    measure('ms from the kill until it is ready', readyMs);
    await rig.awaitRecovery();
    say(`ready after ${Math.round(readyMs)} ms`);
  },
};
