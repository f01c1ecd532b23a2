import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';

/** From the moment that Redis answers again; with a standby, so that the start of a process is not in it. */
const MAX_LEAD_MS = 2_000;

/** The leader and Redis die in the same moment, as where one machine runs both. */
export const killLeaderAndRedis: Fault = {
  name: 'kill-leader-and-redis',
  summary: 'kill -9 of the leader and of Redis at once: a standby leads within 2 s of Redis answering again.',
  rig: { brokers: 2, redis: { appendonly: 'always' } },
  rounds: 20,
  async round({ rig, random, say, measure }) {
    await pause(random.between(200, 800));
    const leader = await rig.leader();
    for (const broker of rig.brokers) await broker.waitUntilReady();
    leader.hold(true);
    try {
      rig.redis.kill();
      await leader.kill();
      await pause(random.between(0, 3_000));
      await rig.redis.restart();
      const answersAt = performance.now();
      await rig.leader();
      const leadMs = performance.now() - answersAt;
      measure('ms from the first answer of Redis to the lead', leadMs);
      if (leadMs > MAX_LEAD_MS) {
        throw new FaultFailure(`No broker led until ${Math.round(leadMs)} ms after Redis answered again.`);
      }
      say(`led again after ${Math.round(leadMs)} ms`);
    } finally {
      leader.hold(false);
    }
    await rig.awaitRecovery();
  },
};
