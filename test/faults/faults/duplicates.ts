import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, tenantQueue } from '@onewriter/protocol';
import type { Fault } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';

/** Jobs that were done, or are being done, are put into the queue again. */
export const duplicates: Fault = {
  name: 'duplicates',
  summary:
    'Finished and running jobs are put back into the queue: the ledger answers, nothing is applied twice.',
  rig: {},
  rounds: 10,
  async round({ rig, random, say }) {
    const until = performance.now() + random.between(500, 1_500);
    let finished = 0;
    let running = 0;
    while (performance.now() < until) {
      const tenant = random.pick(rig.tenants);
      const { prefix, name } = tenantQueue('default', tenant);
      const key = (part: string) => `${prefix}:${name}:${part}`;
      const done = await rig.direct.zrange(key('completed'), '0', '-1');
      if (done.length > 0) {
        const id = random.pick(done);
        // As it was before it was taken. At the head: it is delivered next.
        const [[, removed]] = (await rig.direct
          .multi()
          .zrem(key('completed'), id)
          .hdel(key(id), 'finishedOn', 'processedOn', 'returnvalue')
          .rpush(key('wait'), id)
          .exec()) as [[Error | null, number]];
        finished += removed;
      }
      const active = await rig.direct.lrange(key('active'), 0, -1);
      if (active.length > 0) {
        await rig.direct.rpush(key('wait'), random.pick(active));
        running++;
      }
      await rig.direct.zadd(groupKeys('default').bell, String(Date.now()), tenant);
      await pause(random.between(0, 4));
    }
    if (finished === 0)
      throw new CannotInject('The broker keeps no finished jobs that could be delivered again.');
    const recoveredMs = await rig.awaitRecovery();
    say(`${finished} finished, ${running} running jobs again, back after ${Math.round(recoveredMs)} ms`);
  },
};
