import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { DEFAULT_DB_FILE, isOnewriterError, tenantsDir } from '@onewriter/protocol';
import { pauseTenant, resumeTenant, withHeldTenant } from '@onewriter/tenants';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { isWriteLocked } from '../write-lock.ts';

const GROUP = 'default';
const MAX_ATTEMPTS = 50;
const HOLD = { name: 'restore', who: 'faults', reason: 'a copy takes its place', exclusive: true } as const;

/**
 * A tenant's file is replaced by an equal one, as by a restore, while it is paused and resumed at random, a second file
 * operation wants it, and brokers die. Nothing may be committed to the old file once the broker has released it.
 *
 * The copy is equal, and put there by a bare rename, so that the oracle can judge the file as if it were one: this is about the
 * hold, under many more pauses and second operations than a command has time for. `restore --replace`, deletion and creation
 * themselves, with files that differ, are in order-of-life.ts.
 */
export const heldFile: Fault = {
  name: 'held-file',
  summary:
    'A held tenant’s file is replaced while others pause and resume it, want it for themselves, and kill the leader.',
  rig: { brokers: 2 },
  // A reader looks every half second whether its file is still the one that the path leads to.
  judgeBy: { staleReadsAllowed: true },
  rounds: 40,
  roundsPerRig: 20,
  async round({ rig, random, say }) {
    await pause(random.between(50, 400));
    const tenant = random.pick(rig.tenants);
    const folder = `${tenantsDir(rig.dataDir)}/${tenant}`;
    const done = new AbortController();
    let refused = 0;
    const meddle = async () => {
      while (!done.signal.aborted) {
        const what = random.weighted({ resume: 8, pause: 1, hold: 1 });
        try {
          if (what === 'resume') await resumeTenant(rig.direct, GROUP, tenant);
          else if (what === 'pause') await pauseTenant(rig.direct, GROUP, tenant, 'faults');
          else await withHeldTenant(rig.direct, GROUP, tenant, HOLD, () => pause(random.between(0, 20)));
        } catch (error) {
          if (!isOnewriterError(error, 'TENANT_UNAVAILABLE')) throw error;
          refused++;
        }
        await pause(random.between(0, 3));
      }
    };
    const meddling = Promise.all([meddle(), meddle()]);
    const isKilled = random.oneIn(3);
    let replaced = 0;
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS && replaced < 3; attempt++) {
        const work = withHeldTenant(rig.direct, GROUP, tenant, HOLD, async held => {
          if (isKilled && replaced === 1) for (const broker of rig.brokers) broker.signal('SIGKILL');
          await pause(random.between(0, 200));
          await held.assertHeld();
          if (isWriteLocked(`${folder}/${DEFAULT_DB_FILE}`)) {
            throw new FaultFailure(`The file of ${tenant} is written, and its broker has let go of it.`);
          }
          await rename(folder, `${folder}.old`);
          await mkdir(folder);
          for (const name of [DEFAULT_DB_FILE, `${DEFAULT_DB_FILE}-wal`]) {
            await copyFile(`${folder}.old/${name}`, `${folder}/${name}`).catch((error: { code?: string }) => {
              if (error.code !== 'ENOENT' || name === DEFAULT_DB_FILE) throw error;
            });
          }
          await pause(random.between(0, 100));
          await rm(`${folder}.old`, { recursive: true });
          replaced++;
        });
        // Another holder was first.
        await work.catch(error => {
          if (!isOnewriterError(error, 'TENANT_UNAVAILABLE')) throw error;
          refused++;
        });
        await pause(random.between(0, 20));
      }
    } finally {
      done.abort();
      await meddling;
      await resumeTenant(rig.direct, GROUP, tenant);
    }
    const recoveredMs = await rig.awaitRecovery();
    say(
      `${tenant} replaced ${replaced} times${isKilled ? ', brokers killed' : ''}, ${refused} refused, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};
