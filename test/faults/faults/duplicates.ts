import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, tenantQueue } from '@onewriter/protocol';
import type { Fault } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';

/** Waiting jobs whose data is noted at a time. */
const MAX_SEEN = 10;

/** Jobs that were done, or are being done, are put into the queue again. */
export const duplicates: Fault = {
  name: 'duplicates',
  summary:
    'Finished and running jobs are put back into the queue: the ledger answers, nothing is applied twice.',
  rig: {},
  rounds: 10,
  async round({ rig, random, say }) {
    const until = performance.now() + random.between(500, 1_500);
    // The broker drops the data of finished jobs: kept here while they wait or run.
    const data = new Map<string, string>();
    let finished = 0;
    let running = 0;
    while (performance.now() < until) {
      const tenant = random.pick(rig.tenants);
      const { prefix, name } = tenantQueue('default', tenant);
      const key = (part: string) => `${prefix}:${name}:${part}`;
      const active = await rig.direct.lrange(key('active'), 0, -1);
      for (const id of [...active, ...(await rig.direct.lrange(key('wait'), -MAX_SEEN, -1))]) {
        const seen = await rig.direct.hget(key(id), 'data');
        if (seen) data.set(id, seen);
      }
      const done = (await rig.direct.zrange(key('completed'), '0', '-1')).filter(id => data.has(id));
      if (done.length > 0) {
        const id = random.pick(done);
        // As it was before it was taken. At the head: it is delivered next.
        const [[, removed]] = (await rig.direct
          .multi()
          .zrem(key('completed'), id)
          .hdel(key(id), 'finishedOn', 'processedOn', 'returnvalue')
          .hset(key(id), 'data', data.get(id)!)
          .rpush(key('wait'), id)
          .exec()) as [[Error | null, number]];
        finished += removed;
      }
      if (active.length > 0) {
        await rig.direct.rpush(key('wait'), random.pick(active));
        running++;
      }
      await rig.direct.zadd(groupKeys('default').notifications, String(Date.now()), tenant);
      await pause(random.between(0, 4));
    }
    if (finished === 0)
      throw new CannotInject('The broker keeps no finished jobs that could be delivered again.');
    const recoveredMs = await rig.awaitRecovery();
    say(`${finished} finished, ${running} running jobs again, back after ${Math.round(recoveredMs)} ms`);
  },
};
