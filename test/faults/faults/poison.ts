import { setTimeout as pause } from 'node:timers/promises';
import { deadLetterQueue, LIMITS, tenantFile } from '@onewriter/protocol';
import type { Receipt, ReceiptStatus } from '@onewriter/sdk';
import { holdKeys, REPEAT_OFFENDER, resumeTenant } from '@onewriter/tenants';
import { waitFor } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { PATIENT_CLIENTS, type Rig } from '../rig.ts';
import { isWriteLocked } from '../write-lock.ts';

/** Takes the writer about a second, and changes nothing when it is done. */
const SLOW = `INSERT INTO probe
  WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 6000000) SELECT x FROM c WHERE x < 0`;
/** Never ends. */
const ENDLESS = `INSERT INTO probe
  WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0`;

/** A statement that never ends is stopped by the watchdog; the callers that shared its process are settled. */
export const endlessStatement: Fault = {
  name: 'endless-statement',
  summary:
    'A statement never ends: the watchdog replaces the process, the write is set aside, all other callers are settled.',
  rig: {
    ...{ brokers: 2, clients: PATIENT_CLIENTS },
    // The rounds together would have a tenant paused.
    env: { ONEWRITER_STATEMENT_TIMEOUT_MS: '1000', ONEWRITER_OFFENCE_LIMIT: '0' },
  },
  judgeBy: { unknownAllowed: false },
  rounds: 10,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const startedAt = performance.now();
    const receipt = await rig.probe.tenant(tenant).enqueue(ENDLESS, [], { timeoutMs: 5_000 });
    await rig.awaitRecovery(rig.tenants.filter(other => other !== tenant));
    const status = await settled(receipt, 20_000);
    const setAsideMs = performance.now() - startedAt;
    assertFailed(status, 'STATEMENT_TIMEOUT');
    await assertDeadLetter(rig, receipt.id);
    measure('ms until the statement is set aside', setAsideMs);
    await rig.awaitRecovery();
    say(`in ${tenant}, set aside after ${Math.round(setAsideMs)} ms`);
  },
};

const REPLACED_STATEMENTS = 3;
/** For a write of another tenant, the start of a process on a busy machine included. */
const MAX_OTHERS_MS = 6_000;

/** One tenant sends statement after statement that never ends, and there is no standby: no other tenant pays for the second. */
export const endlessStatements: Fault = {
  name: 'endless-statements',
  summary:
    'One tenant sends statements that never end, again and again, to a broker without a standby: no other write is late.',
  rig: { clients: PATIENT_CLIENTS, env: { ONEWRITER_STATEMENT_TIMEOUT_MS: '1000' } },
  judgeBy: { unknownAllowed: false },
  rounds: 5,
  roundsPerRig: 1,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 500));
    const [tenant, ...others] = rig.tenants;
    const receipts: Receipt[] = [];
    for (let count = 0; count < REPLACED_STATEMENTS; count++) {
      receipts.push(await rig.probe.tenant(tenant!).enqueue(ENDLESS, [], { timeoutMs: 5_000 }));
    }
    let done = false;
    let longestMs = 0;
    const writing = (async () => {
      while (!done) longestMs = Math.max(longestMs, await rig.awaitRecovery([random.pick(others)]));
    })();
    try {
      for (const receipt of receipts) assertFailed(await settled(receipt, 40_000), 'STATEMENT_TIMEOUT');
    } finally {
      done = true;
    }
    await writing;
    measure('ms of the longest write of the others', longestMs);
    if (longestMs > MAX_OTHERS_MS) {
      throw new FaultFailure(`A write of another tenant took ${Math.round(longestMs)} ms.`);
    }
    await rig.awaitRecovery();
    say(`${REPLACED_STATEMENTS} in ${tenant}, the longest write of the others ${Math.round(longestMs)} ms`);
  },
};

const OFFENCE_LIMIT = 2;

/** A tenant that is paused for such statements loses none of its other writes, and has none twice. */
export const repeatOffender: Fault = {
  name: 'repeat-offender',
  summary:
    'One tenant sends statements that never end until it is paused, and is resumed: its other writes are applied once, and no other tenant waits.',
  rig: {
    clients: PATIENT_CLIENTS,
    env: {
      ONEWRITER_STATEMENT_TIMEOUT_MS: '1000',
      ONEWRITER_OFFENCE_LIMIT: String(OFFENCE_LIMIT),
    },
  },
  judgeBy: { unknownAllowed: false },
  rounds: 3,
  async round({ rig, random, say, measure }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const others = rig.tenants.filter(other => other !== tenant);
    const receipts: Receipt[] = [];
    for (let count = 0; count < OFFENCE_LIMIT; count++) {
      receipts.push(await rig.probe.tenant(tenant).enqueue(ENDLESS, [], { timeoutMs: 5_000 }));
    }
    const { holds } = holdKeys('default', tenant);
    await waitFor(async () => (await rig.direct.hexists(holds, REPEAT_OFFENDER)) === 1, {
      timeoutMs: 30_000,
      what: `the pause of ${tenant}`,
    }).catch((error: Error) => {
      throw new FaultFailure(error.message);
    });
    measure('ms of a write of another tenant', await rig.awaitRecovery([random.pick(others)]));
    await pause(random.between(0, 500));
    await resumeTenant(rig.direct, 'default', tenant);
    for (const receipt of receipts) assertFailed(await settled(receipt, 20_000), 'STATEMENT_TIMEOUT');
    const resumedMs = await rig.awaitRecovery();
    say(`${tenant} paused after ${OFFENCE_LIMIT}, back ${Math.round(resumedMs)} ms after it was resumed`);
  },
};

/** A job that takes its process down whenever it runs is set aside; those that only ran beside it are not. */
export const poisonJob: Fault = {
  name: 'poison-job',
  summary:
    'kill -9 of the broker whenever a certain job runs: it is set aside after a few crashes, and no other job is.',
  rig: { clients: PATIENT_CLIENTS, env: { ONEWRITER_OFFENCE_LIMIT: '0' } },
  judgeBy: { unknownAllowed: false },
  rounds: 5,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const [broker] = rig.brokers;
    const tenant = random.pick(rig.tenants);
    const receipt = await rig.probe.tenant(tenant).enqueue(SLOW, [], { timeoutMs: 5_000 });
    let kills = 0;
    for (;;) {
      const done = new AbortController();
      const status = await Promise.race([
        settled(receipt, 20_000),
        isRunning(rig, tenant, done.signal),
      ]).finally(() => done.abort());
      if (status !== undefined) {
        assertFailed(status, 'POISON_JOB');
        break;
      }
      await broker!.kill();
      if (++kills > 2 * LIMITS.maxJobStarts) {
        throw new FaultFailure(`The job took its process down ${kills} times and is still not set aside.`);
      }
    }
    await assertDeadLetter(rig, receipt.id);
    const recoveredMs = await rig.awaitRecovery();
    say(`in ${tenant}, set aside after ${kills} kills, back after ${Math.round(recoveredMs)} ms`);
  },
};

async function settled(receipt: Receipt, timeoutMs: number): Promise<ReceiptStatus> {
  return waitFor(
    async () => {
      const status = await receipt.status();
      return status.state === 'committed' || status.state === 'failed' ? status : undefined;
    },
    { timeoutMs, what: 'the receipt', intervalMs: 30 },
  );
}

/** Only the slow write of a run holds the file's write lock for so long. */
const HELD_MS = 150;

/** Resolves when the slow statement runs: the file's write lock has been held for a while. */
async function isRunning(rig: Rig, tenant: string, signal: AbortSignal): Promise<undefined> {
  const file = tenantFile(rig.dataDir, tenant);
  for (let heldSince = performance.now(); !signal.aborted; await pause(3)) {
    if (!isWriteLocked(file)) heldSince = performance.now();
    else if (performance.now() - heldSince >= HELD_MS) break;
  }
  return undefined;
}

function assertFailed(status: ReceiptStatus, code: string): void {
  if (status.state === 'failed' && status.error.code === code) return;
  const got = status.state === 'failed' ? status.error.code : status.state;
  throw new FaultFailure(`The write should fail with ${code}, and its receipt says ${got}.`);
}

/** The dead-letter queue has the write. */
async function assertDeadLetter(rig: Rig, receiptId: string): Promise<void> {
  const { prefix, name } = deadLetterQueue('default');
  await waitFor(
    async () => {
      for (const key of await rig.direct.keys(`${prefix.replaceAll(/[{}]/g, '?')}:${name}:*`)) {
        if ((await rig.direct.type(key)) !== 'hash') continue;
        if ((await rig.direct.hget(key, 'data'))?.includes(receiptId)) return true;
      }
      return false;
    },
    { timeoutMs: 5_000, what: `the dead letter of ${receiptId}` },
  ).catch((error: Error) => {
    throw new FaultFailure(error.message);
  });
}
