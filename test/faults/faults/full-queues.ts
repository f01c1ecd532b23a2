import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { tenantQueue } from '@onewriter/protocol';
import { connect, isOnewriterError, type Onewriter } from '@onewriter/sdk';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import type { Rig } from '../rig.ts';

const TENANTS = ['full-0', 'full-1', 'full-2'];
const PRODUCERS_PER_TENANT = 4;
/** Bytes that may wait in a queue. */
const QUEUE_BYTES = 2 * 1024 * 1024;
const BLOB = Buffer.alloc(60_000, 7);
const KILLS = 3;
const FILL_MS = 30_000;
const DRAIN_MS = 60_000;
const REFUSALS: ReadonlySet<string> = new Set(['TENANT_OVERLOADED', 'QUEUE_FULL']);

/** The answers to one producer. */
interface Answers {
  readonly accepted: number[];
  /** Its last write, where it was refused and not tried again. */
  refused: number | undefined;
  refusals: number;
}

/** Producers send more than queues may hold, and continue while the broker dies. */
export const fullQueues: Fault = {
  name: 'full-queues',
  summary: `Queues at their bound in bytes: refusals with retryAfterMs, ${KILLS} kills of the broker, all that was accepted applied once.`,
  rig: { clients: [{ concurrency: 1, pauseMs: 100 }], redis: {}, emptyQueuesMs: DRAIN_MS },
  rounds: 3,
  roundsPerRig: 1,
  async round({ rig, random, say, measure }) {
    const [broker] = rig.brokers;
    for (const tenant of TENANTS)
      await rig.probe.tenant(tenant).exec('CREATE TABLE filled(n INTEGER, x BLOB)');
    broker!.hold(true);
    await broker!.kill();
    const client = await connect({ redis: rig.redis.url, maxQueueBytes: QUEUE_BYTES });
    try {
      const stopped = new AbortController();
      setMaxListeners(TENANTS.length * PRODUCERS_PER_TENANT, stopped.signal);
      const answers = new Map(TENANTS.map(tenant => [tenant, [] as Answers[]]));
      const producing = TENANTS.flatMap(tenant =>
        Array.from({ length: PRODUCERS_PER_TENANT }, (_, producer) =>
          produce(client, tenant, producer, answers.get(tenant)!, stopped.signal),
        ),
      );
      const ended = Promise.all(producing);
      const bytes = watchBytes(rig, stopped.signal);
      const all = Promise.all([ended, bytes]);
      all.catch(() => stopped.abort()); // it is awaited below, and again where something else fails first
      try {
        const isFull = () =>
          TENANTS.every(tenant => answers.get(tenant)!.some(({ refusals }) => refusals > 0));
        await waitFor(() => isFull() || stopped.signal.aborted, {
          what: 'a refusal in each tenant',
          timeoutMs: FILL_MS,
        });
        broker!.hold(false);
        for (let kill = 0; kill < KILLS && !stopped.signal.aborted; kill++) {
          await rig.untilLeads(broker!);
          await pause(random.between(50, 1_500));
          await broker!.kill();
        }
        await rig.untilLeads(broker!);
        // At the bound again, with a broker.
        await pause(1_000);
      } finally {
        stopped.abort();
      }
      const [, mostBytes] = await all;
      const startedAt = performance.now();
      await rig.awaitRecovery();
      await untilApplied(rig);
      measure('ms until the queues were empty', performance.now() - startedAt);
      measure('kB that waited in a queue at most', mostBytes / 1_024);
      let accepted = 0;
      let refusals = 0;
      for (const [tenant, producers] of answers) {
        await assertAppliedOnce(rig, tenant, producers);
        for (const producer of producers) {
          accepted += producer.accepted.length;
          refusals += producer.refusals;
        }
      }
      measure('writes accepted', accepted);
      measure('writes refused', refusals);
      say(`${accepted} accepted, ${refusals} refused, at most ${Math.round(mostBytes / 1_024)} kB waited`);
    } finally {
      await client.close({ timeoutMs: 1_000 });
    }
  },
};

/** Sends writes one after the other until it is stopped. @throws FaultFailure for an answer that is not true */
async function produce(
  client: Onewriter,
  tenant: string,
  producer: number,
  all: Answers[],
  signal: AbortSignal,
): Promise<void> {
  const answers: Answers = { accepted: [], refused: undefined, refusals: 0 };
  all.push(answers);
  for (let n = producer; !signal.aborted; n += PRODUCERS_PER_TENANT) {
    for (;;) {
      try {
        await client.tenant(tenant).enqueue('INSERT INTO filled VALUES (?, ?)', [n, BLOB]);
        answers.accepted.push(n);
        break;
      } catch (error) {
        answers.refusals++;
        const retryAfterMs = retryTimeOf(error, tenant);
        if (signal.aborted) {
          answers.refused = n;
          return;
        }
        await pause(retryAfterMs, undefined, { signal }).catch(() => {}); // stopped: tried once more
      }
    }
  }
}

/** @throws FaultFailure where a producer would not know what to do */
function retryTimeOf(error: unknown, tenant: string): number {
  if (!isOnewriterError(error) || !REFUSALS.has(error.code))
    throw new FaultFailure(`A producer of ${tenant} heard ${String(error)}.`);
  const { retryAfterMs } = error.details;
  if (typeof retryAfterMs !== 'number' || retryAfterMs <= 0 || !error.retryable)
    throw new FaultFailure(`A refusal (${error.code}) says no time to try again.`);
  return retryAfterMs;
}

/** @returns the most that waited in one queue. @throws FaultFailure where that is more than may */
async function watchBytes(rig: Rig, signal: AbortSignal): Promise<number> {
  let most = 0;
  while (!signal.aborted) {
    for (const tenant of TENANTS) {
      const { prefix, name } = tenantQueue('default', tenant);
      const bytes = Number((await rig.direct.hget(`${prefix}:${name}:meta`, 'onewriter.bytes')) ?? 0);
      most = Math.max(most, bytes);
      if (bytes > QUEUE_BYTES) throw new FaultFailure(`${bytes} bytes wait in the queue of ${tenant}.`);
    }
    await pause(20);
  }
  return most;
}

async function untilApplied(rig: Rig): Promise<void> {
  await waitFor(
    async () => {
      for (const tenant of TENANTS) {
        const { prefix, name } = tenantQueue('default', tenant);
        for (const list of ['wait', 'active']) {
          if ((await rig.direct.llen(`${prefix}:${name}:${list}`)) > 0) return false;
        }
      }
      return true;
    },
    { what: 'empty queues', timeoutMs: DRAIN_MS, intervalMs: 20 },
  );
}

/** What was accepted is there once, in the order of each producer, and what was refused is not. */
async function assertAppliedOnce(rig: Rig, tenant: string, producers: readonly Answers[]): Promise<void> {
  const rows = await rig.probe.tenant(tenant).prepare('SELECT n FROM filled ORDER BY rowid').all();
  for (const [producer, { accepted, refused }] of producers.entries()) {
    const found = rows.map(({ n }) => Number(n)).filter(n => n % PRODUCERS_PER_TENANT === producer);
    if (refused !== undefined && found.includes(refused))
      throw new FaultFailure(`${tenant} has write ${refused}, which was refused.`);
    const wrong = accepted.findIndex((n, index) => found[index] !== n);
    if (wrong >= 0 || found.length !== accepted.length) {
      throw new FaultFailure(
        `${tenant} has ${found.length} writes of producer ${producer}, ${accepted.length} were accepted; ` +
          `the first that differs is number ${wrong < 0 ? accepted.length : wrong}.`,
      );
    }
  }
}
