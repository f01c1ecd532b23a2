import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys } from '@onewriter/protocol';
import { CLI_MAIN, spawnProcess } from '@onewriter/testkit';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import type { Rig } from '../rig.ts';

const RESTORE_MS = 60_000;
/** What may be lost without the wish for more: an interval and the PUT after it, as long as this on a busy machine. */
const INTERVAL_MS = 1_000;
const PUT_MS = 500;
/** Answers that were on their way when the machine was lost arrive later. */
const HEARD_LATER_MS = 2_000;

/**
 * The machine of the broker is lost with all its files, at any moment under load; a new one restores all tenants from the store and
 * goes on. Redis and the clients are elsewhere.
 */
function lostMachine(mode: 'async' | 'sync'): Fault {
  const isSync = mode === 'sync';
  return {
    name: isSync ? 'lost-machine-sync' : 'lost-machine',
    summary: isSync
      ? 'The data directory is lost under load and restored from the store: no acknowledged write is lost.'
      : 'The data directory is lost under load and restored from the store: what is lost was acknowledged within an interval and a PUT.',
    rig: ({ folder }) => ({
      env: { ONEWRITER_REPLICA_URL: `file://${storeIn(folder)}`, ONEWRITER_REPLICA_MODE: mode },
      // With the files of others, direct reads would show what the loss of a machine takes with them.
      probeReads: false,
    }),
    judgeBy: { staleReadsAllowed: true },
    rounds: isSync ? 40 : 20,
    roundsPerRig: 5,
    async round({ rig, random, say, measure, judgeBy }) {
      await pause(random.between(300, 3_000));
      const [broker] = rig.brokers;
      broker!.hold(true);
      const lostAt = monotonicMs();
      // Who reads the files directly is on the machine, too.
      await Promise.all([broker!.kill(), ...rig.clients.map(client => client.kill())]);
      for (const name of readdirSync(rig.dataDir)) rmSync(join(rig.dataDir, name), { recursive: true });
      if (!isSync) {
        excuse(rig, { from: lostAt - INTERVAL_MS - PUT_MS, to: lostAt + HEARD_LATER_MS });
        // What was only accepted by the queue may have been committed by then, and left it.
        judgeBy({ commitsMayBeLost: excused(rig), acceptedMayBeLost: excused(rig) });
      }
      const startedAt = performance.now();
      await restoreAll(rig);
      const restoredMs = performance.now() - startedAt;
      measure('ms for the restore of all tenants', restoredMs);
      broker!.hold(false);
      await Promise.all(rig.clients.map((_, index) => rig.restartClient(index)));
      const recoveredMs = await rig.awaitRecovery();
      measure('ms from the start of the broker to a commit in every tenant', recoveredMs);
      say(`restored in ${Math.round(restoredMs)} ms, back after ${Math.round(recoveredMs)} ms more`);
    },
  };
}

/** A directory that is there: one that is not could be a disk that is not mounted. */
function storeIn(folder: string): string {
  const store = join(folder, 'store');
  mkdirSync(store, { recursive: true });
  return store;
}

async function restoreAll(rig: Rig): Promise<void> {
  // As the error says that a new directory gets beside the Redis of the lost one.
  await rig.direct.del(groupKeys('default').dataDir);
  const environment = rig.commandEnvironment();
  const args = ['restore', '--all', '--from', environment['ONEWRITER_REPLICA_URL']!, '--json'];
  const child = await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env: environment });
  const timer = setTimeout(() => child.kill('SIGKILL'), RESTORE_MS);
  const { code } = await child.exited;
  clearTimeout(timer);
  if (code !== 0) throw new FaultFailure(`restore --all ended with ${code}: ${child.logs().slice(-1_000)}`);
}

/** Within an interval and a PUT. */
export const lostMachineAsync = lostMachine('async');
/** Nothing. */
export const lostMachineSync = lostMachine('sync');
