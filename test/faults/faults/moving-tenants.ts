import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';
import { RECOVERY_MS } from '../rig.ts';

const THREADS = 1;
/** In the broker's log. */
const NOT_CLOSED = 'An idle tenant was not closed';
/** Statements that hold up a thread each: the second one a spare thread. */
const SLOW_STATEMENTS = 2;
const TENANTS = 300;
/** A spare lane retires when it has been idle for 30 s and has no tenants: it loses them all at once, in the middle of that. */
const IDLE_CLOSE_MS = 31_000;
/** Idle tenants are looked for every 5 s, and 300 of them are closed in one or two more. */
const RETIRES_MS = IDLE_CLOSE_MS + 20_000;
/** Long enough for a thread to be held up while everything else moves to another. */
const SLOW = `INSERT INTO probe SELECT max(x) FROM (
  WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 6000000) SELECT x FROM c)`;

/** Tenants move between threads under load, and a spare thread retires while its tenants are being closed. */
export const movingTenants: Fault = {
  name: 'moving-tenants',
  summary: `Slow statements hold up the threads, ${TENANTS} tenants move to spare ones, and these retire when all is idle.`,
  rig: {
    tenants: TENANTS,
    clients: [{ pauseMs: 0 }, { pauseMs: 0 }],
    env: { ONEWRITER_THREADS: String(THREADS), ONEWRITER_IDLE_CLOSE_MS: String(IDLE_CLOSE_MS) },
  },
  // Callers wait for the slow statements of their own tenant, and are left in doubt by nothing.
  judgeBy: { unknownAllowed: false },
  rounds: 3,
  roundsPerRig: 3,
  async round({ rig, random, say, measure }) {
    const [broker] = rig.brokers;
    await pause(random.between(500, 2_000));
    const slow = Array.from({ length: SLOW_STATEMENTS }, () => random.pick(rig.tenants));
    await Promise.all(
      slow.map(tenant => rig.probe.tenant(tenant).prepare(SLOW, { timeoutMs: RECOVERY_MS }).run()),
    );
    let spare = 0;
    // The metric is of the status, which is made every second; spare threads stay for longer.
    await waitFor(
      async () => {
        spare = await gauge(broker!.url, 'spare_lanes');
        return spare > 0;
      },
      { timeoutMs: 5_000, what: 'a spare thread', intervalMs: 100 },
    ).catch(() => {
      throw new CannotInject('No thread was held up long enough for a spare one.');
    });
    await rig.awaitRecovery();
    for (const client of rig.clients) await client.kill();
    const idleAt = performance.now();
    await waitFor(async () => (await gauge(broker!.url, 'sessions')) === 0 || broker!.exits.length > 0, {
      timeoutMs: RETIRES_MS,
      what: 'all tenants to be closed',
      intervalMs: 200,
    });
    const closedMs = performance.now() - idleAt;
    await waitFor(async () => (await gauge(broker!.url, 'spare_lanes')) === 0 || broker!.exits.length > 0, {
      timeoutMs: RETIRES_MS,
      what: 'the spare threads to retire',
      intervalMs: 200,
    });
    if (broker!.exits.length > 0) throw new FaultFailure('The broker ended while tenants were closed.');
    const failed = countLines(broker!.logs(), NOT_CLOSED);
    if (failed > 0) throw new FaultFailure(`${failed} idle tenants were not closed.`);
    measure('ms from the last write until all is closed', closedMs);
    for (const index of rig.clients.keys()) await rig.restartClient(index);
    const recoveredMs = await rig.awaitRecovery();
    say(
      `${spare} spare, all closed after ${Math.round(closedMs)} ms, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

/** NaN where the broker does not answer: it may have ended. */
async function gauge(url: string, name: string): Promise<number> {
  try {
    const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) });
    const line = new RegExp(`^onewriter_${name} (\\d+)`, 'm').exec(await response.text());
    return Number(line?.[1] ?? Number.NaN);
  } catch {
    return Number.NaN;
  }
}

function countLines(text: string, part: string): number {
  return text.split(part).length - 1;
}
