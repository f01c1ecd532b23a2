import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';

/** Redis refuses to grow for a while: writes are refused with a code, nothing is half accepted. */
export const redisMemory: Fault = {
  name: 'redis-memory',
  summary:
    'Redis is out of memory for a while (maxmemory): QUEUE_FULL, nothing half accepted, and it recovers.',
  rig: {},
  rounds: 15,
  async round({ rig, random, say }) {
    await pause(random.between(100, 600));
    const used = Number(/^used_memory:(\d+)/m.exec(await rig.direct.info('memory'))![1]);
    // Just enough for a few more jobs, or less than there is already.
    const maxmemory = Math.max(1, used + random.between(-200_000, 200_000));
    const lastsMs = random.between(200, 4_000);
    try {
      await rig.direct.config('SET', 'maxmemory', String(maxmemory));
      await pause(lastsMs);
    } finally {
      await rig.direct.config('SET', 'maxmemory', '0');
    }
    const recoveredMs = await rig.awaitRecovery();
    say(`${maxmemory - used} bytes left for ${lastsMs} ms, back after ${Math.round(recoveredMs)} ms`);
  },
};
