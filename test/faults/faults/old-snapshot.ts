import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadLetterQueue, tenantFile, tenantQueue } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import { deleteFiles } from '../redis-files.ts';
import type { Rig } from '../rig.ts';

/** Jobs that a ledger keeps whatever their age, and some more. */
const JOBS_AFTER = 1_300;
const MINUTE_MS = 60_000;
/** Longest wait for so many jobs, and for them to be pruned. */
const PATIENCE_MS = 90_000;

/**
 * Redis comes back as it was long ago: jobs wait in it that were applied, and that the ledgers have pruned since. Time is made
 * to pass by the brokers' own clock, in the data directory.
 */
export const oldSnapshot: Fault = {
  name: 'old-snapshot',
  summary: 'Redis is restored from a snapshot whose jobs the ledgers have pruned: nothing is applied twice.',
  rig: {
    tenants: 2,
    redis: { appendonly: 'always', settings: { 'aof-load-truncated': 'yes' } },
    clients: [1, 2, 3].map(() => ({ pauseMs: 4, concurrency: 24 })),
  },
  judgeBy: { ledgerMayBePruned: true },
  rounds: 3,
  roundsPerRig: 1,
  async round({ rig, say, judgeBy, measure }) {
    const [broker] = rig.brokers;
    // Jobs wait while no broker runs: the snapshot has them.
    broker!.hold(true);
    await broker!.kill();
    await waitFor(async () => (await Promise.all(rig.tenants.map(t => waiting(rig, t)))).every(n => n > 0), {
      timeoutMs: 20_000,
      what: 'jobs that wait',
    });
    const waitingJobs = (await Promise.all(rig.tenants.map(t => waiting(rig, t)))).reduce((a, b) => a + b);
    const snapshot = join(rig.dataDir, '../snapshot');
    cpSync(rig.redis.directory, snapshot, { recursive: true });
    const marked = rig.tenants.map(tenant => lastId(rig, tenant));
    broker!.hold(false);
    await rig.awaitRecovery();
    await passTime(rig, 11 * MINUTE_MS);
    await awaitLedgers(rig, (tenant, index) => lastId(rig, tenant) > marked[index]! + JOBS_AFTER);
    await passTime(rig, 25 * 60 * MINUTE_MS);
    await awaitLedgers(rig, (tenant, index) => firstId(rig, tenant) > marked[index]! + waitingJobs);

    rig.redis.kill();
    await broker!.kill();
    deleteFiles(rig.redis);
    cpSync(snapshot, rig.redis.directory, { recursive: true });
    await rig.redis.restart();
    // What was accepted since the snapshot is lost with that Redis; what is set aside is not applied again.
    excuse(rig, { from: 0, to: monotonicMs() + 250 });
    judgeBy({ acceptedMayBeLost: excused(rig) });
    const recoveredMs = await rig.awaitRecovery();
    const { prefix, name } = deadLetterQueue('default');
    const letters = await rig.direct.llen(`${prefix}:${name}:wait`);
    if (letters === 0) throw new CannotInject('The snapshot had no job that was pruned.');
    measure('writes set aside', letters);
    say(
      `${waitingJobs} jobs in the snapshot, ${letters} writes set aside, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

async function waiting(rig: Rig, tenant: string): Promise<number> {
  const { prefix, name } = tenantQueue('default', tenant);
  return rig.direct.llen(`${prefix}:${name}:wait`);
}

/** The data directory's clock moves on. */
async function passTime(rig: Rig, ms: number): Promise<void> {
  const [broker] = rig.brokers;
  broker!.hold(true);
  await broker!.kill();
  const path = join(rig.dataDir, 'clock');
  const clock = JSON.parse(readFileSync(path, 'utf8')) as { readonly id: string; readonly ms: number };
  writeFileSync(path, `${JSON.stringify({ ...clock, ms: clock.ms + ms })}\n`);
  broker!.hold(false);
  await rig.awaitRecovery();
}

async function awaitLedgers(rig: Rig, is: (tenant: string, index: number) => boolean): Promise<void> {
  try {
    await waitFor(() => rig.tenants.every(is), { timeoutMs: PATIENCE_MS, what: 'ledgers', intervalMs: 200 });
  } catch (cause) {
    const ids = rig.tenants.map(tenant => `${tenant}: ${firstId(rig, tenant)} to ${lastId(rig, tenant)}`);
    throw new FaultFailure(
      `The ledgers do not grow and shrink as they should (${ids.join(', ')}): ${String(cause)}`,
    );
  }
}

const firstId = (rig: Rig, tenant: string) => ledgerId(rig, tenant, 'min');
const lastId = (rig: Rig, tenant: string) => ledgerId(rig, tenant, 'max');

function ledgerId(rig: Rig, tenant: string, which: 'min' | 'max'): number {
  const db = new Database(tenantFile(rig.dataDir, tenant), { readonly: true });
  try {
    return db.prepare<[], number>(`SELECT ${which}(id) FROM sqlite_onewriter_ledger`).pluck().get() ?? 0;
  } finally {
    db.close();
  }
}
