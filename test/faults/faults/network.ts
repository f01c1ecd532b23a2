import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from '@onewriter/testkit';
import type { Fault } from '../fault.ts';
import type { FaultProxy } from '../fault-proxy.ts';
import { HASTY_CLIENT, type Party } from '../rig.ts';

/** What is done to the connections of a party, while clients write. */
const TROUBLES = {
  'cut all connections': async (proxy: FaultProxy) => {
    proxy.cut();
  },
  'cut before the request': async (proxy: FaultProxy) => {
    proxy.requests = { kind: 'cut-at-next', pass: false };
  },
  'cut after the request': async (proxy: FaultProxy) => {
    proxy.requests = { kind: 'cut-at-next', pass: true };
  },
  'cut before the reply': async (proxy: FaultProxy) => {
    proxy.answers = { kind: 'cut-at-next', pass: false };
  },
  'cut after the reply': async (proxy: FaultProxy) => {
    proxy.answers = { kind: 'cut-at-next', pass: true };
  },
  'requests swallowed': async (proxy: FaultProxy) => {
    proxy.requests = { kind: 'swallow' };
  },
  'replies swallowed': async (proxy: FaultProxy) => {
    proxy.answers = { kind: 'swallow' };
  },
  'both swallowed': async (proxy: FaultProxy) => {
    proxy.requests = { kind: 'swallow' };
    proxy.answers = { kind: 'swallow' };
  },
  latency: async (proxy: FaultProxy, random: Random) => {
    proxy.requests = { kind: 'delay', delayMs: random.between(10, 250) };
    proxy.answers = { kind: 'delay', delayMs: random.between(10, 250) };
  },
  'slow requests': async (proxy: FaultProxy, random: Random) => {
    proxy.requests = { kind: 'drip', bytes: random.between(50, 2_000), pauseMs: random.between(1, 20) };
  },
  'slow replies': async (proxy: FaultProxy, random: Random) => {
    proxy.answers = { kind: 'drip', bytes: random.between(10, 500), pauseMs: random.between(1, 20) };
  },
  'connections refused': async (proxy: FaultProxy) => {
    proxy.refusing = true;
    proxy.cut();
  },
} as const;

const PARTIES = {
  'all brokers': ['broker-0', 'broker-1'],
  client: ['client'],
  gateway: ['gateway'],
} as const;

/** A TCP proxy between each party and Redis makes trouble. */
export const network: Fault = {
  name: 'network',
  summary:
    'A proxy between each party and Redis cuts, swallows one direction or both, delays, drips or refuses connections.',
  rig: {
    brokers: 2,
    proxies: ['brokers', 'gateway', 'clients'],
    clients: [{}, HASTY_CLIENT, { via: 'gateway', ...HASTY_CLIENT }],
  },
  rounds: 60,
  async round({ rig, random, say }) {
    const victim = random.weighted({ leader: 4, 'all brokers': 2, client: 3, gateway: 1 });
    const parties = victim === 'leader' ? [(await rig.leader()).name] : PARTIES[victim];
    const name = random.pick(Object.keys(TROUBLES) as (keyof typeof TROUBLES)[]);
    const proxies = parties.map(party => rig.proxies.get(party as Party)!);
    await pause(random.between(50, 400));
    // Some outages end before the callers' deadlines, some do not.
    const lastsMs =
      random.weighted({ short: 3, long: 1 }) === 'short'
        ? random.between(20, 700)
        : random.between(2_000, 7_000);
    try {
      for (const proxy of proxies) await TROUBLES[name](proxy, random);
      await pause(lastsMs);
    } finally {
      for (const proxy of proxies) proxy.heal();
    }
    const recoveredMs = await rig.awaitRecovery();
    say(`${victim}: ${name} for ${lastsMs} ms, back after ${Math.round(recoveredMs)} ms`);
  },
};
