import { setTimeout as pause } from 'node:timers/promises';
import { startRedis, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';

/** Between the moment that Redis accepts a write and its client's note of it, or its replica's copy, on a busy machine. */
const HEARD_LATER_MS = 250;

/** The Redis that all are connected to becomes a replica and a primary again; no connection is cut. */
export const redisRoles: Fault = {
  name: 'redis-roles',
  summary:
    'Redis becomes the replica of its replica for a while (REPLICAOF), and a primary again, under load.',
  rig: {
    brokers: 2,
    clients: [{}, {}, { via: 'gateway' }],
    redis: { appendonly: 'always', settings: { 'repl-diskless-sync-delay': '0' } },
  },
  rounds: 20,
  async round({ rig, random, say, judgeBy, measure }) {
    const lastsMs =
      random.weighted({ short: 2, long: 1 }) === 'short'
        ? random.between(200, 900)
        : random.between(2_000, 6_000);
    await using other = await startRedis({
      appendonly: 'always',
      settings: { replicaof: `127.0.0.1 ${rig.redis.port}`, 'repl-diskless-sync-delay': '0' },
    });
    const heir = new Redis(other.url, { maxRetriesPerRequest: null });
    heir.on('error', () => {}); // it connects again
    try {
      await awaitFollower(heir);
      await pause(random.between(100, 500));
      const from = monotonicMs() - HEARD_LATER_MS;
      await heir.replicaof('NO', 'ONE');
      await rig.direct.replicaof('127.0.0.1', other.port);
      // What was accepted in between lies in neither.
      excuse(rig, { from, to: monotonicMs() + HEARD_LATER_MS });
      judgeBy({ acceptedMayBeLost: excused(rig) });
      await awaitFollower(rig.direct);
      await pause(lastsMs);
    } finally {
      await rig.direct.replicaof('NO', 'ONE');
      heir.disconnect();
    }
    const recoveredMs = await rig.awaitRecovery();
    measure('ms from a primary to a commit in every tenant', recoveredMs);
    say(`a replica for ${lastsMs} ms, back after ${Math.round(recoveredMs)} ms`);
  },
};

async function awaitFollower(redis: Redis): Promise<void> {
  await waitFor(async () => (await redis.info('replication')).includes('master_link_status:up'), {
    what: 'a replica that follows',
    timeoutMs: 15_000,
  });
}

const FLUSHES = 20;
const FLUSH_EVERY_MS = 50;
/** Share of the writes per second before; a write that waits for its client to ask takes a second, and 4 % are left. */
const LEAST_SHARE = 0.2;

/** Redis forgets its scripts again and again: every write finds its way all the same, and none waits. */
export const scriptFlush: Fault = {
  name: 'script-flush',
  summary: `SCRIPT FLUSH ${FLUSHES} times, every ${FLUSH_EVERY_MS} ms, under load: throughput must not collapse.`,
  rig: { clients: [{}, {}, { via: 'gateway' }] },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    await rig.awaitRecovery();
    const lastsMs = FLUSHES * FLUSH_EVERY_MS;
    const before = await committedIn(rig, () => pause(lastsMs));
    await pause(random.between(0, 300));
    const during = await committedIn(rig, async () => {
      for (let flush = 0; flush < FLUSHES; flush++) {
        await rig.direct.script('FLUSH');
        await pause(FLUSH_EVERY_MS);
      }
    });
    measure('% of the writes per second', Math.round((100 * during) / before));
    say(`${Math.round(before)} writes/s before, ${Math.round(during)}/s during`);
    if (during < LEAST_SHARE * before) {
      throw new FaultFailure(
        `${Math.round(during)} writes/s of ${Math.round(before)} are left while scripts are flushed`,
      );
    }
    await rig.awaitRecovery();
  },
};

/** Writes acknowledged per second of `work`. */
async function committedIn(rig: { readonly committed: number }, work: () => Promise<void>): Promise<number> {
  const startedAt = monotonicMs();
  const first = rig.committed;
  await work();
  return ((rig.committed - first) * 1_000) / (monotonicMs() - startedAt);
}
