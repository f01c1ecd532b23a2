import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { HASTY_CLIENT } from '../rig.ts';

const LEASE_MS = 1_000;

/** The leader is stopped past its lease, its standby takes over, and then the old leader continues where it was. */
export const pauseLeader: Fault = {
  name: 'pause-leader',
  summary:
    'SIGSTOP of the leader past its lease, the standby leads, SIGCONT: the old one must commit nothing.',
  rig: { brokers: 2, clients: [{}, {}, HASTY_CLIENT], env: { ONEWRITER_LEASE_MS: String(LEASE_MS) } },
  rounds: 100,
  async round({ rig, random, say, measure }) {
    const leader = await rig.leader();
    const standby = rig.brokers.find(broker => broker !== leader)!;
    await standby.waitUntilReady();
    await pause(random.between(50, 400));
    const stopped = leader.current;
    leader.signal('SIGSTOP');
    const stoppedAt = performance.now();
    try {
      // A tenant whose transaction the old leader was in stays locked by SQLite until it continues: any will do.
      const recoveredMs = await rig.awaitAnyRecovery();
      measure('ms from SIGSTOP to a commit of the standby', recoveredMs);
      // Far past the lease, or just past it.
      await pause(random.between(0, 2 * LEASE_MS));
    } finally {
      leader.signal('SIGCONT');
    }
    const pausedMs = Math.round(performance.now() - stoppedAt);
    // It finds out on its own and gives way: as a standby again, or ended and started again.
    await pause(random.between(50, 300));
    await rig.awaitRecovery();
    const leading = await rig.leader();
    if (leading === leader && leader.current === stopped) {
      throw new FaultFailure('The broker that was stopped past its lease leads again without a new start.');
    }
    say(`stopped for ${pausedMs} ms`);
  },
};
