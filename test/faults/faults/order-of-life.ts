import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Fault, RoundContext } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import { Callers } from '../life/callers.ts';
import { checkHistory } from '../life/check-history.ts';
import { History } from '../life/history.ts';
import { type LifeEvent, TenantLife } from '../life/tenant-life.ts';
import type { Rig } from '../rig.ts';

/** Tenants of a round, which are its own, and what happens to each. */
const TENANTS = 3;
const EVENTS = 3;
/** The first violations of a broken run. */
const MAX_FINDINGS = 12;

/**
 * Callers of all APIs append to lists, and read and set registers, of tenants that are paused, replaced, deleted and created
 * again, while processes die. Their history must have an order: see check-history.ts.
 */
export const orderOfLife: Fault = {
  name: 'order-of-life',
  summary:
    'Tenants are paused, restored in place, deleted and created again under callers of all APIs, and processes die: one order explains all.',
  rig: {
    ...{ brokers: 2, gateway: true, tenants: 2 },
    clients: [{ concurrency: 8, pauseMs: 20, timeoutMs: [15_000, 20_000] }],
    proxies: ['brokers', 'gateway', 'clients'],
  },
  rounds: 20,
  roundsPerRig: 5,
  async round(context) {
    const { rig, random, round, say, measure } = context;
    const history = new History();
    const folder = join(rig.dataDir, '..', `order-of-life-${round}`);
    const lives = Array.from({ length: TENANTS }, (_, index) => {
      const tenant = `life-${round}-${index}`;
      const seeded = rig.random(tenant);
      return new TenantLife({ rig, history, random: seeded, tenant, folder: join(folder, tenant) });
    });
    await rig.gateway!.waitUntilReady();
    await Promise.all(lives.map(life => life.begin()));
    const callers = await Callers.start({
      history,
      seed: random.integer(2 ** 31),
      tenants: lives.map(({ tenant }) => tenant),
      redisUrl: rig.redisUrl('client'),
      dataDir: rig.dataDir,
      gateway: { url: rig.gateway!.url, token: rig.token },
    });
    const faults: string[] = [];
    try {
      await Promise.all([...lives.map(life => live(life, context)), injectFaults(context, faults)]);
      await rig.awaitRecovery([...rig.tenants, ...lives.map(({ tenant }) => tenant)]);
      await pause(random.between(100, 300));
    } finally {
      await callers.stop();
    }
    for (const life of lives) await life.end();

    const findings = checkHistory(history.calls);
    const done = lives.flatMap(life => life.done);
    const count = (kind: string) => history.calls.filter(call => call.kind === kind).length;
    measure('calls', history.calls.length);
    say(
      `${count('write')} writes and ${count('read')} reads in ${count('life')} incarnations of ${TENANTS} tenants ` +
        `(${done.join(', ')}), ${faults.join(', ')}`,
    );
    const file = join(folder, 'history.json');
    writeFileSync(file, JSON.stringify(history.calls));
    if (findings.length === 0) return;
    const shown = findings
      .slice(0, MAX_FINDINGS)
      .map(({ kind, tenant, message }) => `${kind}: ${tenant}: ${message}`);
    throw new FaultFailure(
      `The history has no order (${findings.length} findings, ${file}):\n    ${shown.join('\n    ')}`,
    );
  },
};

async function live(life: TenantLife, { rig, round }: RoundContext): Promise<void> {
  const random = rig.random(`events of ${life.tenant}, round ${round}`);
  await pause(random.between(200, 600));
  await life.backup();
  for (let number = 0; number < EVENTS; number++) {
    await pause(random.between(300, 900));
    const events = { pause: 1, replace: 3, recreate: 3, restoreDeleted: 2 };
    const event = random.weighted<LifeEvent>(events);
    const needsBackup = event === 'replace' || event === 'restoreDeleted';
    await life.run(needsBackup && !life.hasBackup ? 'recreate' : event);
    if (random.oneIn(3)) await life.backup();
    else if (random.oneIn(2)) await life.export();
  }
}

/** Two in a round. What is killed is started again; connections are made again. */
async function injectFaults({ rig, random }: RoundContext, done: string[]): Promise<void> {
  for (let number = 0; number < 2; number++) {
    await pause(random.between(600, 2_500));
    done.push(await injectFault(rig, random.pick(['broker', 'broker', 'gateway', 'cut'] as const)));
  }
}

async function injectFault(rig: Rig, what: 'broker' | 'gateway' | 'cut'): Promise<string> {
  switch (what) {
    case 'broker':
      await (await rig.leader()).kill();
      return 'leader killed';
    case 'gateway':
      await rig.gateway!.kill();
      await rig.gateway!.waitUntilReady();
      return 'gateway killed';
    case 'cut': {
      let cut = 0;
      for (const proxy of rig.proxies.values()) cut += proxy.cut();
      return `${cut} connections to Redis cut`;
    }
  }
}
