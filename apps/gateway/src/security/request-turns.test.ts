import { describe, expect, it } from 'vitest';
import { RequestTurns } from './request-turns.ts';

/** Keeps the loop busy for so long that no more requests begin in this turn of it. */
function keepBusy(): void {
  const until = performance.now() + 5;
  while (performance.now() < until);
}

describe('RequestTurns', () => {
  it('begins a request at once while the loop has time', async () => {
    const turns = new RequestTurns();
    expect(turns.next('a')).toBeUndefined();
    expect(turns.next('a')).toBeUndefined();
    await new Promise(setImmediate);
    expect([turns.next('a'), turns.size]).toEqual([undefined, 0]);
  });

  it('begins with those of owners with few requests where the loop is busy, and begins all', async () => {
    const turns = new RequestTurns();
    const order: string[] = [];
    const ask = async (owner: string) => {
      await turns.next(owner);
      order.push(owner);
      keepBusy();
    };
    void turns.next('many');
    keepBusy();
    const all = [...Array.from({ length: 30 }, () => ask('many')), ask('few'), ask('few'), ask('one')];
    expect([turns.size, order]).toEqual([33, []]);
    await Promise.all(all);
    expect(order.slice(0, 4).filter(owner => owner !== 'many')).toEqual(['few', 'one', 'few']);
    expect([order.length, turns.size]).toEqual([33, 0]);
    expect(turns.next('many')).toBeUndefined();
  });

  it('lets what has arrived meanwhile have its turn before the rest of those that waited', async () => {
    const turns = new RequestTurns();
    const order: string[] = [];
    const ask = async (owner: string) => {
      await turns.next(owner);
      order.push(owner);
      keepBusy();
    };
    void turns.next('many');
    keepBusy();
    let late: Promise<void> | undefined;
    const waiting = Array.from({ length: 8 }, async () => {
      await ask('many');
      late ??= new Promise(setImmediate).then(() => ask('late'));
    });
    await Promise.all(waiting);
    await late;
    expect(order.indexOf('late')).toBeLessThan(4);
  });
});
