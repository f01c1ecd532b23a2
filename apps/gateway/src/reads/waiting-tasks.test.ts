import { describe, expect, it } from 'vitest';
import { type WaitingTask, WaitingTasks } from './waiting-tasks.ts';

type Task = WaitingTask<string>;
const task = (tenant: string, pinned?: string): Task => ({
  tenant,
  since: 0,
  pinned,
  mayStayOpen: false,
});
const all = () => true;
const none = () => 0;

function queueOf(...tasks: Task[]) {
  const waiting = new WaitingTasks<string, Task>();
  for (const one of tasks) waiting.push(one);
  return waiting;
}

describe('tasks that wait for a process', () => {
  it('begin oldest first', () => {
    const [first, second] = [task('a'), task('b')];
    const waiting = queueOf(first, second);
    expect(waiting.oldest).toBe(first);
    expect([
      waiting.next('p', all, none),
      waiting.next('p', all, none),
      waiting.next('p', all, none),
    ]).toEqual([first, second, undefined]);
  });

  it('leave those of a tenant that has its share of the processes', () => {
    const waiting = queueOf(task('busy'), task('calm'));
    expect(waiting.next('p', ({ tenant }) => tenant !== 'busy', none)).toEqual(task('calm'));
    expect(waiting.size).toBe(1);
  });

  it('leave those of a token that has its share, and not others of its tenants', () => {
    const [first, second] = [
      { ...task('a'), owner: 'token 1' },
      { ...task('a'), owner: 'token 2' },
    ];
    const waiting = queueOf(first, second);
    expect(waiting.next('p', ({ owner }) => owner !== 'token 1', none)).toBe(second);
  });

  it('begin with the tenant that used the processes least', () => {
    const tasks = [task('busy'), task('calm'), task('busy'), task('calm')];
    const waiting = queueOf(...tasks);
    const order = tasks.map(() => waiting.next('p', all, tenant => (tenant === 'busy' ? 9 : 1)));
    expect(order.map(next => tasks.indexOf(next!))).toEqual([1, 3, 0, 2]);
  });

  it('continue a transaction only in the process that has it', () => {
    const pinned = task('a', 'q');
    const waiting = queueOf(pinned);
    expect(waiting.next('p', all, none)).toBeUndefined();
    expect(waiting.pinnedTo('p')).toEqual([]);
    expect(waiting.pinnedTo('q')).toEqual([pinned]);
    expect(waiting.next('q', all, none)).toBe(pinned);
  });

  it('can be withdrawn once', () => {
    const [first, second] = [task('a'), task('b')];
    const waiting = queueOf(first, second);
    expect([waiting.remove(first), waiting.remove(first)]).toEqual([true, false]);
    expect(waiting.next('p', all, none)).toBe(second);
  });

  it('are refused beyond a quarter of the room for a tenant, and beyond the room for all', () => {
    const waiting = queueOf(...Array.from({ length: 250 }, () => task('a')));
    expect(waiting.refusal('a')).toMatchObject({
      code: 'RATE_LIMITED',
      details: { tenant: 'a', retryAfterMs: 500 },
    });
    expect(waiting.refusal('a')?.message).toContain('of this tenant');
    expect(waiting.refusal('b')).toBeUndefined();
    for (const tenant of ['b', 'c', 'd']) {
      for (let n = 0; n < 250; n++) waiting.push(task(tenant));
    }
    expect(waiting.refusal('e')?.message).toBe('1000 reads wait already; try again.');
  });
});
