import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import { CannotInject } from '../fault-failure.ts';
import type { Rig } from '../rig.ts';

const INBOXES = 'ow:default:*:inbox.*:events';

/** Completion events vanish in every way: callers are settled by asking, with the truth. */
export const events: Fault = {
  name: 'events',
  summary:
    "Completion events dropped, trimmed, delayed, the clients' inboxes deleted: every caller is settled all the same.",
  rig: { proxies: ['clients'] },
  // The ledger can be asked all the time: no caller may be left in doubt.
  judgeBy: { unknownAllowed: false },
  rounds: 20,
  async round({ rig, random, say }) {
    const lastsMs = random.between(800, 2_500);
    const what = random.pick(['deleted', 'trimmed', 'delayed', 'swallowed'] as const);
    const until = performance.now() + lastsMs;
    let times = 0;
    const proxy = rig.proxies.get('client')!;
    proxy.onlyInbox = true;
    try {
      if (what === 'delayed') proxy.answers = { kind: 'delay', delayMs: random.between(300, 3_000) };
      if (what === 'swallowed') proxy.answers = { kind: 'swallow' };
      while (performance.now() < until) {
        if (what === 'deleted' || what === 'trimmed') times += await strip(rig, what);
        await pause(random.between(0, 5));
      }
    } finally {
      proxy.heal();
    }
    if ((what === 'deleted' || what === 'trimmed') && times === 0)
      throw new CannotInject('There were no inboxes.');
    await rig.awaitRecovery();
    say(`${what} for ${lastsMs} ms`);
  },
};

/** @returns how many inboxes there were. */
async function strip(rig: Rig, how: 'deleted' | 'trimmed'): Promise<number> {
  const keys = await rig.direct.keys(INBOXES);
  for (const key of keys) {
    if (how === 'deleted') await rig.direct.del(key);
    else await rig.direct.xtrim(key, 'MAXLEN', 0);
  }
  return keys.length;
}
