import { closeSync, openSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '@onewriter/testkit';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault, RoundContext } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import { mountLoop, mountTmpfs, type OwnFileSystem } from '../machine.ts';
import { type Mix, USUAL_MIX } from '../operation.ts';
import { deleteFiles } from '../redis-files.ts';
import { type InjectedEffect, injectEffect } from '../strace.ts';

const disks = new Map<string, OwnFileSystem>();

/** The file system that a rig's folder was given. */
function diskOf(folder: string): OwnFileSystem {
  const disk = disks.get(folder);
  if (disk === undefined) throw new TypeError('The fault has no file system.');
  return disk;
}

function onDisk(mount: (folder: string) => Promise<OwnFileSystem>): Pick<Fault, 'prepare'> {
  return {
    prepare: async ({ folder }) => {
      const disk = await mount(folder);
      disks.set(folder, disk);
      return async () => {
        disks.delete(folder);
        await disk.remove();
      };
    },
  };
}

/** The disk is full for a while. */
export const diskFull: Fault = {
  name: 'disk-full',
  summary:
    'The file system of the tenants (a tmpfs) fills up under load, and gets space again: the broker recovers without a restart.',
  ...onDisk(folder => mountTmpfs(folder, 192)),
  rig: ({ folder }) => ({ dataDir: diskOf(folder).path }),
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say }) {
    await pause(random.between(200, 600));
    const filler = join(rig.dataDir, 'filler');
    const lastsMs = random.between(500, 4_000);
    try {
      const bytes = fill(filler);
      await pause(lastsMs);
      say(`full by ${Math.round(bytes / 1024 / 1024)} MB for ${lastsMs} ms`);
    } finally {
      await rm(filler, { force: true });
    }
    const recoveredMs = await rig.awaitRecovery();
    say(`back after ${Math.round(recoveredMs)} ms`);
  },
};

/** Writes until there is no space. */
function fill(path: string): number {
  const descriptor = openSync(path, 'w');
  const zeros = Buffer.alloc(64 * 1024);
  let bytes = 0;
  try {
    for (let chunk = zeros.length; chunk >= 4_096; chunk /= 2) {
      try {
        for (;;) bytes += writeSync(descriptor, zeros, 0, chunk);
      } catch (error) {
        if ((error as { code?: string }).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}

const ERRORS: readonly Pick<InjectedEffect, 'calls' | 'effect'>[] = [
  { calls: 'fsync,fdatasync', effect: 'error=EIO' },
  { calls: 'pwrite64', effect: 'error=EIO' },
  { calls: 'pwrite64', effect: 'error=ENOSPC' },
  { calls: 'pwrite64', effect: 'error=EROFS' },
  { calls: 'pread64', effect: 'error=EIO' },
  { calls: 'ftruncate', effect: 'error=EIO' },
];

/** System calls on the tenants' files fail, in the running broker. */
export const ioErrors: Fault = {
  name: 'io-errors',
  summary:
    'fsync, fdatasync, pwrite, pread or ftruncate fail in the running broker (strace): every answer is true.',
  rig: {},
  rounds: 30,
  roundsPerRig: 10,
  async round({ rig, random, say, judgeBy }) {
    judgeBy({ excusedCodes: ['DATABASE_CORRUPT'] });
    const [broker] = rig.brokers;
    const { process } = await broker!.waitUntilReady();
    await pause(random.between(100, 500));
    const { calls, effect } = random.pick(ERRORS);
    const when = random.oneIn(2) ? `${random.between(1, 20)}+${random.between(1, 9)}` : '1+1';
    const injection = await injectEffect(process.pid, rig.journals, { calls, effect, when });
    try {
      const due = performance.now() + random.between(200, 3_000);
      while (performance.now() < due) await pause(20);
      // Checkpoints and truncations are rare.
      const rare = calls === 'ftruncate' || calls === 'pread64';
      if (!rare) {
        await waitFor(() => injection.count() > 0, { timeoutMs: 5_000, what: `a ${calls} to fail` }).catch(
          () => {
            throw new CannotInject(`No ${calls} failed: strace injects nothing here.`);
          },
        );
      }
    } finally {
      await injection.stop();
    }
    const recoveredMs = await rig.awaitRecovery();
    say(`${injection.count()} ${calls} with ${effect} (${when}), back after ${Math.round(recoveredMs)} ms`);
  },
};

/** The power fails: what was not flushed is gone, acknowledged writes are there. */
export const powerCut: Fault = {
  name: 'power-cut',
  summary:
    "The power of the tenants' disk (ext4 on a loop device) is cut under load: every acknowledged row survives.",
  ...onDisk(folder => mountLoop(folder, 512)),
  rig: ({ folder }) => ({ dataDir: diskOf(folder).path, probeReads: false }),
  rounds: 20,
  roundsPerRig: 5,
  async round(context) {
    await context.rig.brokers[0]!.waitUntilReady();
    await pause(context.random.between(300, 2_000));
    await cutPower(context);
  },
};

const ASKING: Mix = { ...USUAL_MIX, append: 10, enqueue: 100 };

/** The same where flushes take long: between a commit and its flush there is time to say something untrue. */
export const powerCutSlowFlush: Fault = {
  name: 'power-cut-slow-flush',
  summary:
    'The same while flushes of commits take most of a second (strace): no commit is acknowledged before it is on the disk.',
  ...onDisk(folder => mountLoop(folder, 512)),
  // A caller that waits for a receipt looks into the ledger many times a second.
  rig: ({ folder }) => ({
    dataDir: diskOf(folder).path,
    probeReads: false,
    clients: [{ mix: ASKING }, { mix: ASKING }, { mix: ASKING }],
  }),
  rounds: 10,
  roundsPerRig: 5,
  async round(context) {
    const { rig, random } = context;
    const { process } = await rig.brokers[0]!.waitUntilReady();
    await pause(random.between(300, 1_000));
    const injection = await injectEffect(process.pid, rig.journals, {
      // Those that come after a commit that others can see already; SQLite's own, inside COMMIT, are fsync.
      calls: 'fdatasync',
      effect: `delay_enter=${random.between(200, 800)}000`,
      when: '1+1',
    });
    await pause(random.between(1_200, 4_000));
    // It ends with the process.
    await cutPower(context);
    if (injection.count() === 0) throw new CannotInject('No flush was delayed: strace injects nothing here.');
  },
};

/**
 * The machine goes off and on: disk, broker and clients; and Redis, which in half of the rounds comes back with nothing.
 * Where it keeps its queue, what was committed and not flushed is delivered again, and callers cannot see that it was gone.
 */
async function cutPower({ rig, random, say, judgeBy }: RoundContext): Promise<void> {
  const [broker] = rig.brokers;
  const disk = diskOf(join(rig.dataDir, '..'));
  const losesQueue = random.oneIn(2);
  broker!.hold(true);
  await disk.cutPower();
  if (losesQueue) rig.redis.kill();
  // Everything that had files open is gone.
  await Promise.all([broker!.kill(), ...rig.clients.map(client => client.kill())]);
  await disk.powerOn();
  if (losesQueue) {
    deleteFiles(rig.redis);
    await rig.redis.restart();
    excuse(rig, { from: 0, to: monotonicMs() });
    judgeBy({ acceptedMayBeLost: excused(rig) });
  }
  broker!.hold(false);
  const recoveredMs = await rig.awaitRecovery();
  await Promise.all(rig.clients.map((_, index) => rig.restartClient(index)));
  say(`Redis ${losesQueue ? 'lost its files' : 'kept its queue'}, back after ${Math.round(recoveredMs)} ms`);
}
