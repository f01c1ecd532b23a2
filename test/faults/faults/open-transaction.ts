import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import { USUAL_MIX } from '../operation.ts';
import type { ClientKind } from '../rig.ts';

/** Not so many that their transactions alone fill the day: they run one after the other. */
const CLIENT: ClientKind = { mix: { ...USUAL_MIX, steps: 10, open: 5 }, concurrency: 16, pauseMs: 10 };

/** Clients with open transactions, while brokers and clients end in the middle of them. */
export const openTransaction: Fault = {
  name: 'open-transaction',
  summary:
    'Interactive transactions and steps, while the leader gets SIGKILL or SIGTERM, and clients vanish: whole, or not at all.',
  rig: { brokers: 2, clients: [CLIENT, CLIENT, CLIENT] },
  rounds: 40,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 800));
    const what = random.pick(['kill', 'stop', 'client'] as const);
    const leader = await rig.leader();
    if (what === 'kill') await leader.kill();
    else if (what === 'stop') leader.signal('SIGTERM');
    else {
      const index = random.integer(rig.clients.length);
      await rig.clients[index]!.kill();
      await rig.restartClient(index);
    }
    const recoveredMs = await rig.awaitRecovery();
    measure('ms to a commit in every tenant', recoveredMs);
    say(`${what}, back after ${Math.round(recoveredMs)} ms`);
  },
};
