import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { DEFAULT_DB_FILE, groupKeys, tenantFile, tenantsDir } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { CannotInject, FaultFailure } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import { RECOVERY_MS, type Rig } from '../rig.ts';
import { isWriteLocked } from '../write-lock.ts';

/** A file is damaged: its tenant is parked and untouched, the others go on, and it is written again when it is whole. */
export const corruptFile: Fault = {
  name: 'corrupt-file',
  summary:
    "The first page of a tenant's file is overwritten: parked, never repaired, others untouched; then restored.",
  rig: {},
  judgeBy: { excusedCodes: ['DATABASE_CORRUPT'] },
  rounds: 6,
  roundsPerRig: 3,
  async round({ rig, random, say }) {
    const [broker] = rig.brokers;
    const tenant = random.pick(rig.tenants);
    const others = rig.tenants.filter(other => other !== tenant);
    await broker!.waitUntilReady();
    // A clean stop leaves all of it in the file; a start opens it.
    broker!.hold(true);
    broker!.signal('SIGTERM');
    await waitFor(() => broker!.current === undefined, {
      timeoutMs: RECOVERY_MS,
      what: 'the end of the broker',
    });
    const file = tenantFile(rig.dataDir, tenant);
    const whole = readFileSync(file).subarray(0, 4_096);
    overwrite(file, Buffer.alloc(4_096, 0xa5));
    const before = hashOf(file);
    broker!.hold(false);
    await rig.awaitRecovery(others);
    const record = await waitFor(() => rig.direct.hget(groupKeys('default').parked, tenant), {
      timeoutMs: RECOVERY_MS,
      what: `${tenant} to be parked`,
    });
    await pause(random.between(0, 500));
    if (hashOf(file) !== before) throw new FaultFailure(`The damaged file of ${tenant} was changed.`);
    overwrite(file, whole);
    const recoveredMs = await rig.awaitRecovery();
    await assertReleased(rig, tenant);
    say(
      `${tenant} parked with ${(JSON.parse(record) as { code: string }).code}, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

/** A tenant's folder goes away under the broker, and comes back. */
export const movedFile: Fault = {
  name: 'moved-file',
  summary:
    "A tenant's folder is moved away under load, and back: no write is swallowed by a file that nobody finds.",
  rig: {},
  // A new, empty file may have taken its place for a while: it has no tables.
  judgeBy: { excusedCodes: ['SQL_ERROR', 'TENANT_NOT_FOUND'] },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say, judgeBy }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const from = monotonicMs();
    const folder = `${tenantsDir(rig.dataDir)}/${tenant}`;
    await rename(folder, `${folder}.away`);
    const lastsMs = random.between(20, 1_500);
    await pause(lastsMs);
    // Somebody puts the right one back in place of whatever is there.
    await rename(folder, `${folder}.wrong`).catch((error: { code?: string }) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rename(`${folder}.away`, folder);
    const recoveredMs = await rig.awaitRecovery();
    // What failed in the wrong file is in the ledger of the wrong file.
    excuse(rig, { from: from - SENT_BEFORE_MS, to: monotonicMs() });
    judgeBy({ acceptedMayBeLost: excused(rig) });
    await rm(`${folder}.wrong`, { recursive: true, force: true });
    say(`${tenant} was away for ${lastsMs} ms, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** A tenant's file is replaced by an equal one: the old one is nobody's any more, and must get no commit. */
export const replacedFile: Fault = {
  name: 'replaced-file',
  summary:
    "A tenant's open file is replaced by a copy of it between two commits: nothing is committed to the old one.",
  rig: {},
  // A reader looks every half second whether its file is still the one that the path leads to.
  judgeBy: { staleReadsAllowed: true },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const [broker] = rig.brokers;
    const tenant = random.pick(rig.tenants);
    const folder = `${tenantsDir(rig.dataDir)}/${tenant}`;
    for (let attempt = 1; ; attempt++) {
      broker!.signal('SIGSTOP');
      try {
        // In the middle of a transaction nobody could tell which of the two files it belongs to.
        if (!isWriteLocked(`${folder}/${DEFAULT_DB_FILE}`)) {
          await rename(folder, `${folder}.old`);
          await mkdir(folder);
          for (const name of [DEFAULT_DB_FILE, `${DEFAULT_DB_FILE}-wal`]) {
            await copyFile(`${folder}.old/${name}`, `${folder}/${name}`);
          }
          break;
        }
      } finally {
        broker!.signal('SIGCONT');
      }
      if (attempt === 50) throw new CannotInject('There is no moment between two commits.');
      await pause(random.between(1, 20));
    }
    await pause(random.between(100, 1_000));
    const recoveredMs = await rig.awaitRecovery();
    await rm(`${folder}.old`, { recursive: true });
    say(`${tenant}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** What was accepted so long before may still have been in the queue. */
const SENT_BEFORE_MS = 2_000;

async function assertReleased(rig: Rig, tenant: string): Promise<void> {
  await waitFor(async () => (await rig.direct.hexists(groupKeys('default').parked, tenant)) === 0, {
    timeoutMs: RECOVERY_MS,
    what: `${tenant} to be parked no more`,
  });
}

function overwrite(path: string, bytes: Buffer): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
}

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
