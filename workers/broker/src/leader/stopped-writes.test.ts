import { encodeSender, PROTOCOL_VERSION, REPLACED_SIGNAL } from '@onewriter/protocol';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { createWork, ModelLeader } from '../../test-support/leader-model.ts';
import { readStatementBytes } from '../lanes/memory-watch.ts';
import { StoppedWrites } from './stopped-writes.ts';

let leader: ModelLeader;
let writes: StoppedWrites;

const DATA = `{"v":${PROTOCOL_VERSION},"client":"c-1","seq":1,"at":0,"sql":["x"],"ops":[{"s":0${encodeSender('app')}}]}`;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  leader = new ModelLeader();
  writes = new StoppedWrites(leader.parts, () => void leader.steps.push('stop'));
  const kill = vi.spyOn(process, 'kill').mockImplementation((_, signal) => {
    leader.steps.push(`kill ${signal}`);
    return true;
  });
  onTestFinished(() => {
    writes.stop();
    kill.mockRestore();
    vi.restoreAllMocks();
    vi.useRealTimers();
    leader.close();
  });
});

const settle = () => new Promise(setImmediate);

/** A write of each of these tenants runs, each in a lane of its own. */
function begin(...tenants: readonly string[]) {
  for (const tenant of tenants) {
    const work = createWork(leader.open(tenant), DATA);
    leader.lanes.push({ work, position: { job: 0, op: 0 }, begunBytes: 0 });
  }
}

/** The process has grown, by the memory of a statement. */
function grow(mib: number) {
  const { rss, ...rest } = process.memoryUsage();
  const grown = { ...rest, rss: rss + mib * 1_024 * 1_024 };
  vi.spyOn(process, 'memoryUsage').mockReturnValue(grown);
  expect(readStatementBytes()).toBeGreaterThan(0);
}

it('sets a write that runs past its deadline aside, once, and replaces the process', async () => {
  begin('slow');
  vi.advanceTimersByTime(900);
  await settle();
  expect(leader.steps).toEqual([]);
  vi.advanceTimersByTime(300);
  await vi.waitFor(() => expect(leader.steps).toContain(`kill ${REPLACED_SIGNAL}`));
  expect(leader.steps.slice(0, 3)).toEqual(
    expect.arrayContaining([
      ...['offence of slow by app', 'poison job-of-slow.0 STATEMENT_TIMEOUT', 'replacement in epoch 7'],
    ]),
  );
  expect(leader.steps[3]).toBe('stop');
  expect(leader.logged[0]).toContain('A statement runs past its deadline');
});

it('has the writes that run long beside it run apart next, and blames no one for them', async () => {
  begin('slow');
  vi.advanceTimersByTime(400);
  begin('long');
  vi.advanceTimersByTime(500);
  begin('short');
  vi.advanceTimersByTime(200);
  await vi.waitFor(() => expect(leader.steps).toContain(`kill ${REPLACED_SIGNAL}`));
  expect(leader.steps).toContain('run apart job-of-long');
  expect(leader.steps.join()).not.toMatch(/suspect|offence of (?!slow)/);
});

it('waits longer while the successor is still starting', async () => {
  Object.assign(leader.parts.options.successor, { coming: true });
  begin('slow');
  vi.advanceTimersByTime(2_900);
  await settle();
  expect(leader.steps).toEqual([]);
});

it('sets a write aside that uses too much memory', async () => {
  begin('huge');
  vi.advanceTimersByTime(40);
  grow(1_000);
  vi.advanceTimersByTime(40);
  await vi.waitFor(() => expect(leader.steps).toContain(`kill ${REPLACED_SIGNAL}`));
  expect(leader.steps.slice(0, 2)).toEqual([
    'offence of huge by app',
    'poison job-of-huge.0 STATEMENT_TOO_COSTLY',
  ]);
});

it('refuses none of several writes that may have used it: they run apart next', async () => {
  begin('one', 'other');
  vi.advanceTimersByTime(40);
  grow(1_000);
  vi.advanceTimersByTime(40);
  await vi.waitFor(() => expect(leader.steps).toContain(`kill ${REPLACED_SIGNAL}`));
  expect(leader.steps.slice(0, 2)).toEqual(['run apart job-of-one job-of-other', 'suspect one other']);
  expect(leader.steps.join()).not.toContain('poison');
});

it('watches no more once it is stopped', async () => {
  begin('slow');
  writes.stop();
  vi.advanceTimersByTime(60_000);
  await settle();
  expect(leader.steps).toEqual([]);
});

it('does not replace the process because of a write that ran apart', async () => {
  writes.onStoppedApart(createWork({ tenant: 'slow' }), 'job-of-slow', 0, { kind: 'time' } as never);
  writes.onStoppedApart(createWork({ tenant: 'huge' }), 'job-of-huge', 0, {
    kind: 'memory',
    limitBytes: 7,
  } as never);
  await settle();
  expect(leader.steps).toEqual([
    ...['offence of slow', 'poison job-of-slow.0 STATEMENT_TIMEOUT'],
    ...['offence of huge', 'poison job-of-huge.0 STATEMENT_TOO_COSTLY'],
  ]);
});

it('holds a tenant that offends too often, unless the process ends', async () => {
  leader.tooOften.add('bad');
  const offend = async () => {
    writes.onStoppedApart(createWork({ tenant: 'bad' }), 'job', 0, { kind: 'time' } as never);
    writes.onAppliedApart('bad', true);
    writes.onAppliedApart('good', false);
    await settle();
    return leader.steps.filter(step => step.startsWith('held'));
  };
  expect(await offend()).toEqual(['held bad', 'held bad']);
  leader.phase.stop();
  expect(await offend()).toHaveLength(2);
});
