import type { Logger } from '@onewriter/runtime';
import type { ApplyOutcome, ApplyTask, LaneTask, WriterOptions } from '@onewriter/writer';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Lane, type LaneClient } from './lane.ts';
import type { LaneRunner } from './lane-thread.ts';
import { WalFlusher } from './wal-flusher.ts';

const APPLIED: ApplyOutcome = {
  kind: 'applied',
  jobs: [],
  incarnation: '',
  stats: { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 },
  evicted: [],
};
/** The log of this commit cannot be flushed. */
const UNFLUSHED: ApplyOutcome = { ...APPLIED, unflushed: { path: '/no/such/log', identity: '0:0' } };
const FAILED: ApplyOutcome = {
  kind: 'refused',
  error: { code: 'DATABASE_IO_ERROR', message: 'no' },
  uncertain: true,
  begun: true,
  evicted: [],
};

/** A lane whose thread answers so, and what it was given. */
function open(distrusted: Set<string>, ...outcomes: ApplyOutcome[]) {
  const tasks: LaneTask[] = [];
  const runner: LaneRunner = {
    progress: new Int32Array(new SharedArrayBuffer(64)),
    configure: () => {},
    run: async task => {
      tasks.push(task);
      return task.kind === 'apply' ? (outcomes.shift() ?? APPLIED) : { kind: 'closed', tenants: [] };
    },
    onItem: () => {},
    onIdleEnd: () => {},
    connect: () => {},
    onStart: () => {},
    destroy: async () => {},
  };
  const flusher = new WalFlusher(() => 1);
  const nothing = () => {};
  const lane = new Lane(0, {
    ...{ writer: {} as WriterOptions, runner, flusher, distrusted, mayBegin: () => true },
    ...{ onIdle: nothing, onChanged: nothing, onBroken: nothing, log: {} as Logger },
  });
  onTestFinished(() => flusher.close());
  return { lane, warnings: () => tasks.filter(task => task.kind === 'apply').map(task => task.afterIoError) };
}

/** Runs a batch of the tenant. */
async function run(lane: Lane): Promise<ApplyOutcome> {
  let outcome: ApplyOutcome | undefined;
  let task: ApplyTask | undefined = { kind: 'apply', tenant: 'acme', epoch: 1, jobs: [] };
  const client: LaneClient = {
    ...{ tenant: 'acme', lane: undefined, pinned: false, overtakesAt: undefined },
    nextTask: () => {
      const next = task;
      task = undefined;
      return next;
    },
    onOutcome: its => {
      outcome = its;
    },
    onRevoked: () => {},
    onFault: error => expect.fail(error.message),
  };
  lane.enqueue(client);
  await vi.waitFor(() => expect(outcome).toBeDefined());
  return outcome!;
}

it.each([
  ['a log was not flushed', UNFLUSHED],
  ['a file failed', FAILED],
])('where %s, the next thread that opens it knows, until a batch is applied', async (_, outcome) => {
  const distrusted = new Set<string>();
  const [first, second] = [open(distrusted, outcome), open(distrusted, FAILED)];
  expect(await run(first.lane)).toMatchObject({ error: { code: 'DATABASE_IO_ERROR' } });
  for (const kind of ['refused', 'applied', 'applied']) expect((await run(second.lane)).kind).toBe(kind);
  expect(await run(first.lane)).toBe(APPLIED);
  expect(first.warnings()).toEqual([undefined, undefined]);
  expect(second.warnings()).toEqual([true, true, undefined]);
});
