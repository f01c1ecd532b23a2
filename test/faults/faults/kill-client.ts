import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';

/** Client processes are killed with writes under way; others take their place. */
export const killClient: Fault = {
  name: 'kill-client',
  summary: 'kill -9 of client processes with writes under way.',
  rig: { clients: [{ concurrency: 128, pauseMs: 0 }, {}, {}, {}] },
  rounds: 100,
  async round({ rig, random, say }) {
    await pause(random.between(100, 600));
    const index = random.integer(rig.clients.length);
    await rig.clients[index]!.kill();
    await rig.restartClient(index);
    await rig.awaitRecovery();
    say(`client ${index}`);
  },
};
