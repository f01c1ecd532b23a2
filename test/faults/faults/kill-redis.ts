import { existsSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Random, TestRedis } from '@onewriter/testkit';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';
import { monotonicMs } from '../journal.ts';
import { deleteFiles } from '../redis-files.ts';
import { HASTY_CLIENT } from '../rig.ts';

/** Between the moment that Redis accepts a write and its client's note of it, on a busy machine. */
const HEARD_LATER_MS = 250;

/** With `always` an accepted write is on the disk: none may be lost, and every answer is true. */
export const killRedisAlways: Fault = {
  name: 'kill-redis-always',
  summary: 'kill -9 of Redis (AOF always) under load, and restart: no accepted write is lost.',
  rig: { clients: [{}, {}, HASTY_CLIENT], redis: { appendonly: 'always' } },
  rounds: 30,
  async round({ rig, random, say, measure }) {
    await pause(random.between(200, 800));
    rig.redis.kill();
    await pause(random.between(0, 1_500));
    await rig.redis.restart();
    const recoveredMs = await rig.awaitRecovery();
    measure('ms from the restart to a commit in every tenant', recoveredMs);
    say(`back after ${Math.round(recoveredMs)} ms`);
  },
};

/** As after a power failure with `everysec`: about a second of accepted writes is missing at the end. */
export const killRedisEverysec: Fault = {
  name: 'kill-redis-everysec',
  summary:
    'kill -9 of Redis (AOF everysec), the last second of its AOF cut off in the middle of a command, restart.',
  rig: { redis: { appendonly: 'everysec', settings: { 'aof-load-truncated': 'yes' } } },
  rounds: 30,
  async round({ rig, random, say, judgeBy }) {
    const lengths = await watchAof(rig.redis, random.between(1_100, 1_800));
    rig.redis.kill();
    const killedAt = monotonicMs();
    await pause(50);
    const lost = truncateTail(rig.redis, lengths, random);
    excuse(rig, { from: lost.from - 50, to: killedAt + HEARD_LATER_MS });
    judgeBy({ acceptedMayBeLost: excused(rig) });
    await pause(random.between(0, 800));
    await rig.redis.restart();
    const recoveredMs = await rig.awaitRecovery();
    say(
      `${lost.bytes} bytes and ${Math.round(killedAt - lost.from)} ms lost, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

/** Redis comes back empty: what was committed stays, nothing is applied twice, and epochs never go back. */
export const wipeRedis: Fault = {
  name: 'wipe-redis',
  summary:
    'kill -9 of Redis and restart without its data, or FLUSHALL: committed stays, nothing is applied twice.',
  rig: { brokers: 2, redis: { appendonly: 'always' } },
  rounds: 20,
  async round({ rig, random, say, judgeBy }) {
    await pause(random.between(300, 1_200));
    const flush = random.oneIn(2);
    if (flush) await rig.direct.flushall();
    else {
      rig.redis.kill();
      await pause(50);
      deleteFiles(rig.redis);
      await rig.redis.restart();
    }
    // Any write that was in the queue is gone with it.
    excuse(rig, { from: 0, to: monotonicMs() + HEARD_LATER_MS });
    judgeBy({ acceptedMayBeLost: excused(rig) });
    const recoveredMs = await rig.awaitRecovery();
    say(`${flush ? 'flushed' : 'lost its files'}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** The AOF's incremental file: the only one that grows. */
function aofFile(redis: TestRedis): string {
  const folder = join(redis.directory, 'appendonlydir');
  const name = existsSync(folder)
    ? readdirSync(folder)
        .filter(file => file.endsWith('.incr.aof'))
        .sort((a, b) => statSync(join(folder, a)).mtimeMs - statSync(join(folder, b)).mtimeMs)
        .at(-1)
    : undefined;
  if (name === undefined) throw new CannotInject('This Redis keeps no incremental AOF (Redis 7 does).');
  return join(folder, name);
}

/** How long the file was, by time, over a while. */
async function watchAof(
  redis: TestRedis,
  ms: number,
): Promise<readonly { readonly at: number; readonly bytes: number }[]> {
  const lengths: { at: number; bytes: number }[] = [];
  const until = monotonicMs() + ms;
  while (monotonicMs() < until) {
    lengths.push({ at: monotonicMs(), bytes: statSync(aofFile(redis)).size });
    await pause(20);
  }
  return lengths;
}

/** Cuts off up to a second of the file's end. @returns since when writes are missing. */
function truncateTail(
  redis: TestRedis,
  lengths: readonly { readonly at: number; readonly bytes: number }[],
  random: Random,
): { readonly bytes: number; readonly from: number } {
  const file = aofFile(redis);
  const { size } = statSync(file);
  const oldest = lengths.find(({ at }) => at > lengths.at(-1)!.at - 1_000)!;
  const keep = random.between(Math.min(oldest.bytes, size), size);
  truncateSync(file, keep);
  const from = lengths.findLast(({ bytes }) => bytes <= keep)?.at ?? oldest.at;
  return { bytes: size - keep, from };
}
