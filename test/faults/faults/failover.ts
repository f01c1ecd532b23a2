import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { RECOVERY_MS, type Rig } from '../rig.ts';
import { describeExit, type SupervisedProcess } from '../supervised-process.ts';

/** From kill -9 of the leader to the first write committed by the standby. Source: the goal of the lease's design. */
const MAX_FAILOVER_MS = 3_000;
const MAX_HANDOVER_MS = 500;

/** The leader of a pair is killed, and not started again before its standby has committed. */
export const failover: Fault = {
  name: 'failover',
  summary: `kill -9 of the leader of a pair: the standby commits within ${MAX_FAILOVER_MS} ms (median).`,
  rig: { brokers: 2 },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    const { leader } = await readyPair(rig);
    await pause(random.between(50, 600));
    leader.hold(true);
    leader.signal('SIGKILL');
    const firstMs = await rig.awaitRecovery([random.pick(rig.tenants)]);
    leader.hold(false);
    measure(FAILOVER, firstMs);
    const allMs = firstMs + (await rig.awaitRecovery());
    say(`first commit after ${Math.round(firstMs)} ms, in every tenant after ${Math.round(allMs)} ms`);
  },
  async afterRounds({ figures }) {
    assertMedian(figures(FAILOVER), MAX_FAILOVER_MS);
  },
};

/** The leader of a pair gets SIGTERM. */
export const handover: Fault = {
  name: 'handover',
  summary: `SIGTERM of the leader of a pair: the standby commits within ${MAX_HANDOVER_MS} ms (median), no caller gets an error.`,
  rig: { brokers: 2 },
  judgeBy: { unknownAllowed: false },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    const { leader } = await readyPair(rig);
    await pause(random.between(50, 600));
    const epoch = await rig.epoch();
    const exits = leader.exits.length;
    const startedAt = performance.now();
    leader.signal('SIGTERM');
    // Before that a commit would still be the old leader's.
    await waitFor(async () => (await rig.epoch()) > epoch, {
      timeoutMs: RECOVERY_MS,
      intervalMs: 2,
      what: 'a new epoch',
    });
    await rig.awaitRecovery([random.pick(rig.tenants)]);
    const firstMs = performance.now() - startedAt;
    measure(HANDOVER, firstMs);
    await waitFor(() => leader.exits.length > exits, {
      timeoutMs: RECOVERY_MS,
      what: 'the end of the leader',
    });
    const exit = leader.exits[exits]!;
    if (exit.code !== 0) throw new FaultFailure(`The leader ended with ${describeExit(exit)} at SIGTERM.`);
    await rig.awaitRecovery();
    say(`first commit of the standby after ${Math.round(firstMs)} ms`);
  },
  async afterRounds({ figures }) {
    assertMedian(figures(HANDOVER), MAX_HANDOVER_MS);
  },
};

const FAILOVER = 'ms from kill -9 to the first commit of the standby';
const HANDOVER = 'ms from SIGTERM to the first commit of the standby';

/** A leader with clients at work, and a standby that is ready. */
async function readyPair(
  rig: Rig,
): Promise<{ readonly leader: SupervisedProcess; readonly standby: SupervisedProcess }> {
  const leader = await rig.leader();
  const standby = rig.brokers.find(broker => broker !== leader)!;
  await standby.waitUntilReady();
  return { leader, standby };
}

/** Fewer values than this say nothing about a median on a busy machine. */
const MIN_VALUES = 10;

function assertMedian(values: readonly number[], maxMs: number): void {
  if (values.length < MIN_VALUES) return;
  const median = [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.POSITIVE_INFINITY;
  if (median > maxMs) throw new FaultFailure(`The median is ${Math.round(median)} ms, over ${maxMs} ms.`);
}
