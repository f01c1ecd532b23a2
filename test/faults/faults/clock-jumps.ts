import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findFaketime } from '../faketime.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import type { Rig } from '../rig.ts';

const PATIENT = { timeoutMs: 10_000 };
const MAX_ATTEMPTS = 5;

let library = '';

/** Writes under idempotency keys in each tenant and round, that are sent again after the jumps. */
const KEYED_WRITES = 5;

/** The brokers' clocks jump, each for itself, forwards and backwards. */
export const clockJumps: Fault = {
  name: 'clock-jumps',
  summary:
    "The brokers' clocks jump by seconds to days, each for itself (faketime): no second leader, and not none; keys are kept.",
  prepare: async () => {
    library = await findFaketime();
    return async () => {};
  },
  // A clock that jumps by more than a day makes the ledger's rows old; the newest stay.
  judgeBy: { ledgerMayBePruned: true },
  rig: ({ folder }) => ({
    brokers: 2,
    brokerEnv: (_start, broker) => {
      const file = clockFile(folder, broker);
      if (!existsSync(file)) writeFileSync(file, '+0');
      return {
        LD_PRELOAD: library,
        FAKETIME_TIMESTAMP_FILE: file,
        FAKETIME_NO_CACHE: '1',
        // Deadlines and leases use the monotonic clock, which does not jump.
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
    },
  }),
  rounds: 20,
  async round({ rig, random, round, say }) {
    await writeKeyed(rig, round);
    await pause(random.between(100, 500));
    // Every other round the leader's clock is days ahead: what is pruned by it would be gone.
    const leaps = round % 2 === 0;
    const broker = leaps ? rig.brokers.indexOf(await rig.leader()) : random.integer(rig.brokers.length);
    const seconds = leaps
      ? random.pick([2, 400]) * 86_400
      : random.pick([1, 5, 60, 3_600, 86_400, 400 * 86_400]) * (random.oneIn(2) ? -1 : 1);
    writeFileSync(clockFile(join(rig.dataDir, '..'), broker), `${seconds < 0 ? '' : '+'}${seconds}`);
    await pause(random.between(200, 2_500));
    const leader = await rig.leader();
    if (random.oneIn(4)) await leader.kill();
    const recoveredMs = await rig.awaitRecovery();
    await repeatKeyed(rig, round);
    say(`broker ${broker} is off by ${seconds} s, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** As an app that sends orders. In a table of its own: the journals know nothing of it. */
async function writeKeyed(rig: Rig, round: number): Promise<void> {
  await Promise.all(
    rig.tenants.map(async tenant => {
      await rig.probe.tenant(tenant).exec('CREATE TABLE IF NOT EXISTS probe_keyed(key TEXT)', PATIENT);
      await sendKeyed(rig, tenant, round);
    }),
  );
}

/** What was sent before the jumps is sent again, as after an answer that was lost. */
async function repeatKeyed(rig: Rig, rounds: number): Promise<void> {
  await Promise.all(
    rig.tenants.map(async tenant => {
      for (let round = 1; round <= rounds; round++) await sendKeyed(rig, tenant, round);
      const twice = await rig.probe
        .tenant(tenant)
        .prepare('SELECT key, count(*) AS rows FROM probe_keyed GROUP BY key HAVING count(*) > 1')
        .get();
      if (twice !== undefined) {
        throw new FaultFailure(`Applied twice in ${tenant}, under one key: ${JSON.stringify(twice)}`);
      }
    }),
  );
}

async function sendKeyed(rig: Rig, tenant: string, round: number): Promise<void> {
  const keys = Array.from({ length: KEYED_WRITES }, (_, n) => `round-${round}-${n}`);
  await Promise.all(keys.map(key => sendUntilKnown(rig, tenant, key)));
}

/** Until its outcome is known: that is what keys are for. */
async function sendUntilKnown(rig: Rig, tenant: string, key: string): Promise<void> {
  const insert = rig.probe.tenant(tenant).prepare('INSERT INTO probe_keyed VALUES (?)', PATIENT);
  for (let attempt = 1; ; attempt++) {
    try {
      await insert.withOptions({ ...PATIENT, idempotencyKey: key }).run(key);
      return;
    } catch (error) {
      if (attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

function clockFile(folder: string, broker: number): string {
  return join(folder, `clock-${broker}`);
}
