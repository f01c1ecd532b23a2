import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { createWork, ModelLeader, never } from '../../test-support/leader-model.ts';
import { drainLeader } from './drain.ts';

let leader: ModelLeader;

beforeEach(() => {
  leader = new ModelLeader();
  onTestFinished(() => leader.close());
});

it('finishes, hands over, and only then closes the files', async () => {
  leader.open('acme');
  expect(await drainLeader(leader.parts, 10_000)).toBe(true);
  expect(leader.steps).toEqual([
    ...['drain acme', 'stop waking', 'requeue acme', 'leave open set: acme', 'release the lease'],
    ...['close files', 'close dead letters'],
  ]);
  expect(leader.logged).toEqual([]);
});

it('closes the files and has the rest stored before it hands over, where tenants are replicated', async () => {
  leader.open('acme');
  leader.shipping = {
    available: true,
    end: async (withinMs: number) => void leader.steps.push(`store within ${withinMs > 5_000}`),
  } as NonNullable<typeof leader.shipping>;
  expect(await drainLeader(leader.parts, 10_000)).toBe(true);
  expect(leader.steps.slice(1, 4)).toEqual(['stop waking', 'close files', 'store within true']);
  expect(leader.steps.indexOf('release the lease')).toBeGreaterThan(3);
});

it('stores only what is captured where a statement does not end', async () => {
  const stuck = leader.open('stuck', { drain: () => never(), held: 1 });
  leader.lanes.push({ work: createWork(stuck), position: { job: 0, op: 0 }, begunBytes: 0 });
  const end = async (withinMs: number) => void leader.steps.push(`store within ${withinMs}`);
  leader.shipping = { available: false, end } as NonNullable<typeof leader.shipping>;
  expect(await drainLeader(leader.parts, 100)).toBe(false);
  expect(leader.steps.slice(1, 3)).toEqual(['store within 250', 'requeue stuck']);
});

it('hands over after half of its time what does not end, and leaves its file', async () => {
  const stuck = leader.open('stuck', { drain: () => never(), held: 1 });
  leader.lanes.push({ work: createWork(stuck), position: { job: 0, op: 0 }, begunBytes: 0 });
  const startedAt = performance.now();
  expect(await drainLeader(leader.parts, 100)).toBe(false);
  expect(performance.now() - startedAt).toBeGreaterThan(49);
  expect(leader.steps).toEqual(['stop waking', 'requeue stuck', 'release the lease']);
  expect(leader.logged).toEqual([expect.stringContaining('A statement does not end')]);
});

it('ends the process apart, after the lease is released', async () => {
  leader.apartWork = createWork({ tenant: 'acme' });
  expect(await drainLeader(leader.parts, 10_000)).toBe(true);
  expect(leader.steps.slice(1, 3)).toEqual(['release the lease', 'kill the process apart']);
});

it.each([
  ['were not closed in time', async () => 3],
  ['take longer than that', () => never<number>()],
])('says that files are open where they %s', async (_, closeFiles) => {
  leader.closeFiles = closeFiles;
  expect(await drainLeader(leader.parts, 100)).toBe(false);
  expect(leader.logged).toEqual([expect.stringContaining('Files were not closed in time')]);
});
