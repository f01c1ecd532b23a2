import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { DRAIN_MS } from '../rig.ts';
import { describeExit, type SupervisedProcess } from '../supervised-process.ts';

/** Everything is restarted, one process after the other, under load. */
export const rollingRestart: Fault = {
  name: 'rolling-restart',
  summary:
    'SIGTERM of every process one by one under load: no error that is not retryable, no write lost, all in time.',
  rig: { brokers: 2, clients: [{}, {}, { via: 'gateway' }] },
  // HTTP itself cannot say whether a request arrived on a connection that is being closed.
  judgeBy: { unknownAllowed: 'gateway' },
  rounds: 5,
  async round({ rig, random, say, measure }) {
    const processes = [...rig.brokers, rig.gateway!];
    for (const process of processes) {
      await restart(process, measure);
      await rig.awaitRecovery();
    }
    await pause(random.between(0, 300));
    await rig.redis.restart();
    await rig.awaitRecovery();
    // A client of its own accord: finishes, ends, and another one starts.
    const index = random.integer(rig.clients.length);
    await rig.clients[index]!.finish(5_000, 30_000);
    await rig.restartClient(index);
    const recoveredMs = await rig.awaitRecovery();
    say(
      `${processes.map(({ name }) => name).join(', ')}, client ${index}; back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

async function restart(
  process: SupervisedProcess,
  measure: (name: string, value: number) => void,
): Promise<void> {
  await process.waitUntilReady();
  const exits = process.exits.length;
  const startedAt = performance.now();
  process.signal('SIGTERM');
  await waitFor(() => process.exits.length > exits, {
    timeoutMs: DRAIN_MS + 2_000,
    what: `the end of ${process.name}`,
    intervalMs: 5,
  }).catch((error: Error) => {
    throw new FaultFailure(error.message);
  });
  measure(
    `ms from SIGTERM to the end of a ${process.name.replace(/-\d+$/, '')}`,
    performance.now() - startedAt,
  );
  const exit = process.exits[exits]!;
  if (exit.code !== 0) throw new FaultFailure(`${process.name} ended with ${describeExit(exit)} at SIGTERM.`);
  await process.waitUntilReady();
}
