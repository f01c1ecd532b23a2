import { setTimeout as pause } from 'node:timers/promises';
import { tenantQueue } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import type { Rig } from '../rig.ts';

/** Transactions that wait for the tenant's writer when their gateway dies. */
const WAITING = 8;
/** One may be open, for its 5 s; those behind it are begun without a caller. */
const MAX_WAIT_MS = 9_000;

/** A gateway dies with interactive transactions open and queued: other writers do not wait for each of them. */
export const deadGateway: Fault = {
  name: 'dead-gateway',
  summary: `kill -9 of the gateway while ${WAITING} BEGIN IMMEDIATE of its callers wait for one tenant's writer.`,
  rig: { gateway: true, clients: [{ timeoutMs: [15_000, 20_000] }, { timeoutMs: [15_000, 20_000] }] },
  // No other writer waits past its deadline, or is left in doubt.
  judgeBy: { unknownAllowed: false },
  rounds: 5,
  async round({ rig, random, say, measure }) {
    const gateway = rig.gateway!;
    await gateway.waitUntilReady();
    await pause(random.between(50, 300));
    const tenant = random.pick(rig.tenants);
    // Their connections break with the gateway.
    const begins = Array.from({ length: WAITING }, () =>
      begin(rig, gateway.url, tenant).catch(() => 'broken'),
    );
    const queue = tenantQueue('default', tenant);
    await waitFor(
      async () => {
        const waiting = await rig.direct.lrange(`${queue.prefix}:${queue.name}:wait`, 0, -1);
        return waiting.filter(id => id.startsWith('b-')).length >= WAITING - 2;
      },
      { what: 'transactions that wait', timeoutMs: 10_000, intervalMs: 5 },
    );
    await gateway.kill();
    const killedAt = performance.now();
    await rig.awaitRecovery([tenant]);
    const waitedMs = performance.now() - killedAt;
    await Promise.all(begins);
    measure('ms from the kill to the next commit of the tenant', waitedMs);
    say(`in ${tenant}, the next write after ${Math.round(waitedMs)} ms`);
    if (waitedMs > MAX_WAIT_MS) {
      throw new FaultFailure(
        `A write waited ${Math.round(waitedMs)} ms for transactions whose gateway was dead.`,
      );
    }
  },
};

/** As libSQL's clients begin an interactive transaction. */
async function begin(rig: Rig, url: string, tenant: string): Promise<string> {
  const response = await fetch(`${url}/t/${tenant}/v2/pipeline`, {
    method: 'POST',
    headers: { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: 'BEGIN IMMEDIATE' } }] }),
    signal: AbortSignal.timeout(60_000),
  });
  return response.text();
}
