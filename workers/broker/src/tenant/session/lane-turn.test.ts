import { describe, expect, it } from 'vitest';
import { ModelParts } from '../../../test-support/session-model.ts';
import { toActiveJobs } from './held-job.ts';
import { LaneTurn } from './lane-turn.ts';
import { OpenTransaction } from './open-transaction.ts';

function createTurn() {
  const parts = new ModelParts();
  const transaction = new OpenTransaction(parts, { rollback: () => {}, onBegun: () => {} });
  return { parts, turn: new LaneTurn(parts, transaction) };
}

describe('a turn at the lane', () => {
  it('begins the jobs that are here, oldest first, and has them back when the task has left', () => {
    const { parts, turn } = createTurn();
    parts.hold('w-0', 'w-1', 'w-2');
    turn.queue();
    expect([turn.stage, turn.isInThread]).toEqual(['queued', false]);
    const task = turn.begin(false, true);
    expect(task?.jobs.map(({ id }) => id)).toEqual(['w-0', 'w-1', 'w-2']);
    expect([turn.stage, turn.isInThread, task?.transaction]).toEqual(['batch', true, undefined]);
    expect(turn.leave('resting').map(({ id }) => id)).toEqual(['w-0', 'w-1', 'w-2']);
    expect(turn.stage).toBe('resting');
  });

  it('begins steps alone, with a transaction that they may leave open', () => {
    const { parts, turn } = createTurn();
    parts.hold('b-0', 'w-1');
    turn.queue();
    const task = turn.begin(false, true);
    expect([turn.stage, task?.jobs.length, typeof task?.transaction?.id]).toEqual(['steps', 1, 'string']);
    turn.leave('queued');
    expect(turn.stage).toBe('queued');
  });

  it('passes where nothing is here, or nothing may begin', () => {
    const { parts, turn } = createTurn();
    turn.queue();
    expect([turn.begin(false, true), turn.stage]).toEqual([undefined, 'resting']);
    parts.hold('w-0');
    turn.queue();
    expect([turn.begin(false, false), turn.stage]).toEqual([undefined, 'resting']);
    parts.held.unload();
    turn.queue();
    expect([turn.begin(false, true), turn.stage]).toEqual([undefined, 'resting']);
  });

  it('tries without jobs whether the file can be opened, where it could not', () => {
    const { parts, turn } = createTurn();
    parts.refusals.triesWithoutJobs = true;
    turn.queue();
    expect([turn.begin(false, true)?.jobs, turn.stage]).toEqual([[], 'opening']);
    expect(turn.leave('resting')).toEqual([]);
  });

  it('never has two tasks, or one without its turn', () => {
    const { parts, turn } = createTurn();
    parts.hold('w-0');
    expect(() => turn.begin(false, true)).toThrow('The session of acme cannot go from "resting" to "batch".');
    parts.held.putBack(parts.held.leaveThread());
    turn.queue();
    expect(() => turn.queue()).toThrow('The session of acme cannot go from "queued" to "queued".');
    turn.begin(false, true);
    expect(() => turn.queue()).not.toThrow();
  });

  it('ends where the oldest job would not begin first', () => {
    const { parts, turn } = createTurn();
    parts.hold('w-0', 'w-1');
    parts.held.take(parts.held.loadedFirst);
    parts.held.putBack(parts.held.leaveThread().toReversed());
    turn.queue();
    expect(() => turn.begin(false, true)).toThrow('Jobs of acme lost their order');
  });

  it('waits for the data of the oldest job, also where newer jobs are here', () => {
    const { parts, turn } = createTurn();
    const jobs = toActiveJobs([{ id: 'w-0', bytes: 9 }], [0]);
    parts.held.add(jobs.map(job => ({ ...job, enqueuedAt: undefined, fetchedAt: 0 })));
    parts.hold('w-1');
    turn.queue();
    expect(turn.begin(false, true)).toBeUndefined();
  });
});
