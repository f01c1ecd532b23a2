import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, tenantQueue } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';
import type { Rig } from '../rig.ts';
import { watchWaits } from '../starvation.ts';

const MEGABYTE = 1024 * 1024;

/** A blob that is 8 MB in Redis, in base64: the largest write that is accepted is not much larger. */
const BLOB_BYTES = 5_900_000;
const KILLS = 2;
/** A write of a tenant without a backlog is answered within this. */
const MAX_UNINVOLVED_MS = 1_000;
/** Heap of the broker that starts on the backlog. */
const HEAP_MB = 512;
const MAX_DRAIN_MS = 240_000;

const WIDE_TENANTS = 3_000;
const WIDE_JOBS = 20;
/** Tenants that get their jobs at a time. */
const ENQUEUED_AT_ONCE = 200;
const COUNT_EVERY_MS = 1_000;
const QUIET_TENANT = 'quiet';
/** On a busy machine a write may be late by what its threads waited for a CPU, and no more than this. */
const MAX_EXCUSED_MS = 2_000;

const ACTIVE_TENANTS = 100_000;
const MAX_FIRST_WRITE_MS = 2_000;
const MAX_MEMORY_BYTES = 512 * MEGABYTE;

/** @param tenants each has one large job */
function createLargeBacklog(name: string, tenants: number): Fault {
  return {
    name,
    summary: `${KILLS} kills of a broker with ${HEAP_MB} MB of heap that starts on ${Math.round((tenants * BLOB_BYTES * 4) / 3e6)} MB of large jobs: all applied, others served.`,
    rig: {
      clients: [{ concurrency: 1, pauseMs: 100 }],
      redis: {},
      emptyQueuesMs: MAX_DRAIN_MS,
      brokerEnv: () => ({ NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` }),
    },
    rounds: 1,
    roundsPerRig: 1,
    async round({ rig, random, say, measure }) {
      const [broker] = rig.brokers;
      broker!.hold(true);
      await broker!.kill();
      const names = Array.from({ length: tenants }, (_, index) => `large-${index}`);
      const blob = Buffer.alloc(BLOB_BYTES, 7);
      for (const tenant of names) {
        await rig.probe.tenant(tenant).enqueue('CREATE TABLE large(x)');
        await rig.probe.tenant(tenant).enqueue('INSERT INTO large VALUES (?)', [blob]);
      }
      broker!.hold(false);
      for (let kill = 0; kill < KILLS; kill++) {
        await rig.untilLeads(broker!);
        await pause(random.between(100, 1_500));
        await broker!.kill();
      }
      await rig.untilLeads(broker!);
      const leadsAt = performance.now();
      const exits = broker!.exits.length;
      let longestMs = 0;
      let peakBytes = 0;
      for (;;) {
        const sentAt = performance.now();
        await rig.awaitRecovery([rig.tenants[0]!]);
        const waitedMs = performance.now() - sentAt;
        if (longestMs === 0) measure('ms from the lead to the first write of such a tenant', waitedMs);
        longestMs = Math.max(longestMs, waitedMs);
        peakBytes = Math.max(peakBytes, residentBytes(broker!.pid));
        if ((await countJobs(rig, names)) === 0) break;
        if (performance.now() - leadsAt > MAX_DRAIN_MS)
          throw new FaultFailure(`Large jobs are left after ${MAX_DRAIN_MS} ms.`);
        await pause(100);
      }
      const drainedMs = performance.now() - leadsAt;
      measure('ms of the slowest write of a tenant without a backlog', longestMs);
      measure('s until the backlog was applied', drainedMs / 1_000);
      measure('MB of resident memory, broker', peakBytes / MEGABYTE);
      say(
        `${tenants} jobs applied in ${Math.round(drainedMs)} ms, others within ${Math.round(longestMs)} ms`,
      );
      if (broker!.exits.length > exits) throw new FaultFailure('The broker ended on its backlog.');
      if (longestMs > MAX_UNINVOLVED_MS)
        throw new FaultFailure(`A write waited ${Math.round(longestMs)} ms behind other tenants' backlog.`);
      await assertAppliedOnce(rig, names);
    },
  };
}

async function assertAppliedOnce(rig: Rig, tenants: readonly string[]): Promise<void> {
  for (const tenant of tenants) {
    const rows = await rig.probe
      .tenant(tenant)
      .prepare('SELECT count(*) AS n, sum(length(x)) AS bytes FROM large')
      .all();
    const { n, bytes } = rows[0] as { n: number; bytes: number };
    if (n !== 1 || bytes !== BLOB_BYTES)
      throw new FaultFailure(`${tenant} has ${n} rows of ${bytes} bytes: its job was not applied once.`);
  }
}

async function forEachOf<Item>(
  items: readonly Item[],
  atOnce: number,
  run: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0;
  const work = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await run(item);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** Jobs that wait or are active. */
async function countJobs(rig: Rig, tenants: readonly string[]): Promise<number> {
  const pipeline = rig.direct.pipeline();
  for (const tenant of tenants) {
    const { prefix, name } = tenantQueue('default', tenant);
    for (const list of ['wait', 'active']) pipeline.llen(`${prefix}:${name}:${list}`);
  }
  const lengths = (await pipeline.exec()) ?? [];
  return lengths.reduce((sum, [, length]) => sum + Number(length), 0);
}

function residentBytes(pid: number | undefined): number {
  if (process.platform !== 'linux') throw new CannotInject('Memory is measured by /proc, on Linux.');
  if (pid === undefined) return 0;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/** 2.4 GB in Redis; takes some minutes. */
export const largeBacklog = createLargeBacklog('large-backlog', 300);
/** As much as a quick look allows: still more than the broker's heap. */
export const largeBacklogShort = createLargeBacklog('large-backlog-short', 80);

/** Many tenants with a few small jobs each, whose files do not exist yet. */
export const wideBacklog: Fault = {
  name: 'wide-backlog',
  summary: `A broker starts on ${WIDE_TENANTS} tenants with ${WIDE_JOBS} jobs each, and is killed and starts again: others' first write within ${MAX_UNINVOLVED_MS} ms.`,
  rig: { clients: [{ concurrency: 1, pauseMs: 100 }], redis: {}, emptyQueuesMs: MAX_DRAIN_MS },
  rounds: 1,
  roundsPerRig: 1,
  async round({ rig, random, say, measure }) {
    const [broker] = rig.brokers;
    await rig.probe.tenant(QUIET_TENANT).exec('CREATE TABLE probe(at REAL)');
    broker!.hold(true);
    await broker!.kill();
    const names = Array.from({ length: WIDE_TENANTS }, (_, index) => `wide-${index}`);
    await forEachOf(names, ENQUEUED_AT_ONCE, async tenant => {
      const db = rig.probe.tenant(tenant);
      await db.enqueue('CREATE TABLE wide(n INTEGER PRIMARY KEY)');
      for (let n = 1; n < WIDE_JOBS; n++) await db.enqueue('INSERT INTO wide VALUES (?)', [n]);
    });
    broker!.hold(false);
    for (let start = 0; start <= KILLS; start++) {
      if (start > 0) {
        await pause(random.between(100, 3_000));
        await broker!.kill();
      }
      await rig.untilLeads(broker!);
      const { waitedMs, excusedMs } = await write(rig, broker!.pid!);
      say(`start ${start}: first write after ${Math.round(waitedMs)} ms`);
      measure('ms from the lead to the first write of a tenant without a backlog', waitedMs);
      measure('ms of these that threads waited for a CPU', excusedMs);
      assertInTime(waitedMs, excusedMs);
    }
    const leadsAt = performance.now();
    for (let countAt = 0; ; ) {
      const { waitedMs, excusedMs } = await write(rig, broker!.pid!);
      measure('ms of its further writes', waitedMs);
      assertInTime(waitedMs, excusedMs);
      await pause(100);
      if (performance.now() < countAt) continue;
      const left = await countJobs(rig, names);
      if (left === 0) break;
      if (performance.now() - leadsAt > MAX_DRAIN_MS)
        throw new FaultFailure(`${left} jobs are left after ${MAX_DRAIN_MS} ms.`);
      countAt = performance.now() + COUNT_EVERY_MS;
    }
    const drainedMs = performance.now() - leadsAt;
    measure('s from the last start until the backlog was applied', drainedMs / 1_000);
    for (const tenant of names) {
      const rows = await rig.probe.tenant(tenant).prepare('SELECT count(*) AS n FROM wide').all();
      const { n } = rows[0] as { n: number };
      if (n !== WIDE_JOBS - 1) throw new FaultFailure(`${tenant} has ${n} rows of ${WIDE_JOBS - 1}.`);
    }
  },
};

/** A write of a tenant that has no other work. @returns how long it took, and how much of that the machine may have taken */
async function write(rig: Rig, broker: number): Promise<{ waitedMs: number; excusedMs: number }> {
  const waits = watchWaits([process.pid, rig.redis.pid(), broker]);
  const waitedMs = await rig.awaitRecovery([QUIET_TENANT]);
  return { waitedMs, excusedMs: waits() };
}

function assertInTime(waitedMs: number, excusedMs: number): void {
  const limitMs = MAX_UNINVOLVED_MS + Math.min(excusedMs, MAX_EXCUSED_MS);
  if (waitedMs > limitMs) {
    const what = `A write waited ${Math.round(waitedMs)} ms behind other tenants' backlog`;
    throw new FaultFailure(`${what}, and threads ${Math.round(excusedMs)} ms for a CPU.`);
  }
}

/** The last leader had 100,000 tenants open. */
export const manyActive: Fault = {
  name: 'many-active',
  summary: `Takeover from a leader with ${ACTIVE_TENANTS} tenants open: first write within ${MAX_FIRST_WRITE_MS} ms, memory bounded.`,
  rig: { clients: [{ concurrency: 1, pauseMs: 100 }], redis: {} },
  rounds: 1,
  roundsPerRig: 1,
  async round({ rig, say, measure }) {
    const [broker] = rig.brokers;
    broker!.hold(true);
    await broker!.kill();
    const { open, tenants } = groupKeys('default');
    for (let first = 0; first < ACTIVE_TENANTS; first += 1_000) {
      const names = Array.from({ length: 1_000 }, (_, index) => `active-${first + index}`);
      await rig.direct.sadd(open, ...names);
      await rig.direct.zadd(tenants, ...names.flatMap(name => [Date.now(), name]));
    }
    broker!.hold(false);
    await rig.untilLeads(broker!);
    const firstMs = await rig.awaitRecovery([rig.tenants[0]!]);
    let peakBytes = 0;
    await waitFor(
      async () => {
        peakBytes = Math.max(peakBytes, residentBytes(broker!.pid));
        return (await rig.direct.scard(open)) < 1_000;
      },
      { what: 'all tenants to be looked at', timeoutMs: 60_000, intervalMs: 50 },
    );
    measure('ms from the lead to the first write', firstMs);
    measure('MB of resident memory, broker', peakBytes / MEGABYTE);
    say(`first write after ${Math.round(firstMs)} ms, ${Math.round(peakBytes / MEGABYTE)} MB`);
    if (firstMs > MAX_FIRST_WRITE_MS)
      throw new FaultFailure(`The first write waited ${Math.round(firstMs)} ms for the takeover.`);
    if (peakBytes > MAX_MEMORY_BYTES) throw new FaultFailure('A takeover takes too much memory.');
  },
};
