import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';
import { USUAL_MIX } from '../operation.ts';
import type { ClientKind } from '../rig.ts';

const MEGABYTE = 1024 * 1024;

/** Bounds of resident memory. Node itself takes 60 to 90 MB; the rest is buffers, queues and caches. */
const MAX_BROKER_BYTES = 512 * MEGABYTE;
const MAX_CLIENT_BYTES = 512 * MEGABYTE;
const MAX_REDIS_BYTES = 1024 * MEGABYTE;

const PRODUCER: ClientKind = {
  mix: { ...USUAL_MIX, append: 20, heavy: 70, bad: 0 },
  concurrency: 20_000,
  pauseMs: 0,
  timeoutMs: [5_000, 20_000],
};

/** Producers want several times what the broker can do. */
export const overload: Fault = {
  name: 'overload',
  summary:
    'A minute of several times what the broker can do: memory bounded, refusals with retryAfterMs, throughput kept.',
  rig: { clients: [PRODUCER, PRODUCER, PRODUCER], tenants: 10, emptyQueuesMs: 240_000 },
  rounds: 1,
  roundsPerRig: 1,
  async round({ rig, say, measure }) {
    const [broker] = rig.brokers;
    const lastsMs = 60_000;
    const startedAt = performance.now();
    const committed: number[] = [];
    const most = { broker: 0, redis: 0, client: 0 };
    while (performance.now() - startedAt < lastsMs) {
      await pause(1_000);
      most.broker = Math.max(most.broker, residentBytes(broker!.pid));
      most.redis = Math.max(most.redis, residentBytes(rig.redis.pid()));
      most.client = Math.max(most.client, ...rig.clients.map(({ rssBytes }) => rssBytes));
      committed.push(await committedBy(broker!.url));
      rig.assertClientsAlive();
    }
    for (const [party, bytes] of Object.entries(most))
      measure(`MB of resident memory, ${party}`, bytes / MEGABYTE);
    // The first seconds are spent on getting under way.
    const rate = (from: number, to: number) => (committed[to]! - committed[from]!) / (to - from);
    const early = rate(5, Math.floor(committed.length / 2));
    const late = rate(Math.floor(committed.length / 2), committed.length - 1);
    measure('committed per second, first half', early);
    measure('committed per second, second half', late);
    say(`${Math.round(early)}/s, then ${Math.round(late)}/s; memory ${JSON.stringify(most)}`);
    if (late < early / 2) throw new FaultFailure('Throughput collapses under overload.');
    if (most.broker > MAX_BROKER_BYTES) throw new FaultFailure('The broker takes too much memory.');
    if (most.redis > MAX_REDIS_BYTES) throw new FaultFailure('Redis takes too much memory.');
    if (most.client > MAX_CLIENT_BYTES) throw new FaultFailure('A client takes too much memory.');
    await waitFor(() => broker!.exits.length === 0, {
      timeoutMs: 100,
      what: 'a broker that never ended',
    }).catch(() => {
      throw new FaultFailure('The broker ended under overload.');
    });
  },
};

/** Writes that the broker has committed, whether or not a caller still waits for them. */
async function committedBy(url: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) });
  const match = /^onewriter_writes_total\{result="committed"\} (\d+)/m.exec(await response.text());
  return Number(match?.[1] ?? 0);
}

function residentBytes(pid: number | undefined): number {
  if (process.platform !== 'linux') throw new CannotInject('Memory is measured by /proc, on Linux.');
  if (pid === undefined) return 0;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
