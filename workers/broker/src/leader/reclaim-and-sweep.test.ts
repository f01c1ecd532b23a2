import { groupKeys } from '@onewriter/protocol';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { ModelLeader } from '../../test-support/leader-model.ts';
import type { HeldTenants } from '../tenant/held-tenants.ts';
import { ReclaimAndSweep } from './reclaim-and-sweep.ts';

const keys = groupKeys('default');

let leader: ModelLeader;
let both: ReclaimAndSweep;
/** Lengths of lists: `<tenant>:wait`, `<tenant>:active`. */
let lengths: Record<string, number>;
/** Tenants that the last leader had open, and all. */
let open: string[];
let known: string[];
let held: Set<string>;

beforeEach(() => {
  leader = new ModelLeader();
  [lengths, open, known, held] = [{}, [], [], new Set()];
  leader.parts.options.link.call = (async (command: string, key: string, start: number) => {
    if (command === 'SSCAN') return ['0', open];
    if (command === 'ZMSCORE') return open.map((_, index) => index);
    if (command === 'ZRANGE' && key === keys.tenants) return start === 0 ? known : [];
    const [, tenant, list] = /tenant\.([a-z-]+):(wait|active)$/.exec(key) ?? [];
    if (command === 'LLEN') return lengths[`${tenant}:${list}`] ?? 0;
    return 0;
  }) as never;
  const holds = {
    get size() {
      return held.size;
    },
    onNotified: (tenant: string) => held.has(tenant),
  } as unknown as HeldTenants;
  both = new ReclaimAndSweep(leader.parts, holds);
  onTestFinished(() => {
    both.stop();
    leader.close();
  });
});

const untilSwept = (step: string) => vi.waitFor(() => expect(leader.steps).toContain(step));

it('reclaims the jobs of dead leaders first, then notifies tenants whose notification was lost', async () => {
  [open, known] = [['left'], ['left', 'silent', 'empty']];
  lengths = { 'left:active': 2, 'silent:wait': 1 };
  leader.open('left', { ownsQueue: false, reclaimed: 2 });
  const running = both.run();
  await untilSwept('notify silent');
  expect(leader.steps).toEqual(['reclaim left', 'forget unclaimed', 'notify silent']);
  expect(leader.logged).toEqual(['Jobs of the last leader will be redelivered']);
  both.stop();
  await running;
});

it('does not reclaim what the first fetch of a session has read', async () => {
  open = ['left'];
  lengths = { 'left:active': 2 };
  const session = leader.open('left', { ownsQueue: false });
  session.untilFetched = async () => {
    session.ownsQueue = true;
  };
  const running = both.run();
  await untilSwept('forget unclaimed');
  expect(leader.steps).not.toContain('reclaim left');
  both.stop();
  await running;
});

it('reclaims active jobs that a sweep finds, which are a dead leader’s', async () => {
  known = ['late', 'awake'];
  lengths = { 'late:active': 1, 'awake:active': 1 };
  leader.open('awake');
  leader.open('late', { asleep: true });
  const running = both.run();
  await untilSwept('reclaim late');
  expect(leader.steps).not.toContain('reclaim awake');
  both.stop();
  await running;
});

it('leaves held tenants, and keeps what is known of their jobs', async () => {
  [open, known] = [['paused'], ['paused', 'silent']];
  lengths = { 'paused:active': 1, 'paused:wait': 1, 'silent:wait': 1 };
  held.add('paused');
  const running = both.run();
  await untilSwept('notify silent');
  expect(leader.steps).toEqual(['notify silent']);
  both.stop();
  await running;
});

it('begins no sweep where the process ends meanwhile', async () => {
  known = ['silent'];
  lengths = { 'silent:wait': 1 };
  const running = both.run();
  leader.phase.end('fenced');
  await running;
  expect(leader.steps).toEqual(['end: fenced']);
});

it('tries the files that a predecessor could not open, but those of held tenants', async () => {
  leader.unopened = ['mended', 'paused'];
  held.add('paused');
  const running = both.run();
  await untilSwept('try the file of mended');
  both.stop();
  await running;
  expect(leader.steps.filter(step => step.startsWith('try'))).toEqual(['try the file of mended']);
});
