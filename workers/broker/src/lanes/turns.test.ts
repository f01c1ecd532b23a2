import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, vi } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import { Turns } from './turns.ts';

const inLine = { overtakesAt: undefined };
const atOnce = { overtakesAt: 0 };

/** Serves all that wait, at a time that does not pass. */
function serveAll(turns: Turns<string>, now = 0): string[] {
  const served: string[] = [];
  for (let next = turns.next(now); next !== undefined; next = turns.next(now)) served.push(next);
  return served;
}

describe('turns', () => {
  it('are of the one that waited longest, and each fourth of the newest that may overtake', () => {
    const turns = new Turns<string>();
    for (const item of ['a', 'b', 'c', 'd', 'e', 'f']) turns.add(item, inLine);
    turns.add('new', atOnce);
    turns.add('newest', atOnce);
    expect(serveAll(turns)).toEqual(['a', 'b', 'c', 'newest', 'd', 'e', 'f', 'new']);
  });

  it('go to no item with a backlog before those that wait longer', () => {
    const turns = new Turns<string>();
    const items = Array.from({ length: 40 }, (_, index) => `t${index}`);
    for (const item of items) turns.add(item, inLine);
    expect(serveAll(turns)).toEqual(items);
  });

  it('let one overtake only when its time has come', () => {
    const turns = new Turns<string>();
    for (const item of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) turns.add(item, inLine);
    turns.add('later', { overtakesAt: 100 });
    expect([1, 2, 3, 4].map(() => turns.next(99))).toEqual(['a', 'b', 'c', 'd']);
    expect([1, 2, 3, 4].map(() => turns.next(100))).toEqual(['e', 'f', 'g', 'later']);
  });

  it('let the newest work overtake, whatever order it was added in', () => {
    const turns = new Turns<string>();
    for (const item of ['a', 'b', 'c', 'd', 'e', 'f']) turns.add(item, inLine);
    turns.add('newest', { overtakesAt: 0, addedAt: 9 });
    for (const addedAt of [3, 8, 5]) turns.add(`t${addedAt}`, { overtakesAt: 0, addedAt });
    turns.add('unknown', atOnce);
    expect(serveAll(turns)).toEqual(['a', 'b', 'c', 'newest', 'd', 'e', 'f', 't8', 't3', 't5', 'unknown']);
  });

  it('let an item overtake for its newest work, which may come while it waits', () => {
    const turns = new Turns<string>();
    for (const item of ['a', 'b', 'c', 'd', 'e', 'f']) turns.add(item, inLine);
    for (const addedAt of [3, 8, 5]) turns.add(`t${addedAt}`, { overtakesAt: 0, addedAt });
    turns.renew('t3', { overtakesAt: 0, addedAt: 9 });
    turns.renew('t8', { overtakesAt: undefined, addedAt: 10 });
    turns.renew('t5', { overtakesAt: 0, addedAt: 4 });
    turns.renew('a', { overtakesAt: 0, addedAt: 11 });
    turns.renew('unknown', { overtakesAt: 0, addedAt: 12 });
    expect(turns.size).toBe(9);
    expect(serveAll(turns)).toEqual(['a', 'b', 'c', 't3', 'd', 'e', 'f', 't5', 't8']);
  });

  it('are kept by an item that is moved', () => {
    const [from, to] = [new Turns<string>(), new Turns<string>()];
    for (const item of ['b', 'd', 'f']) to.add(item, { ...inLine, waitsSince: item.charCodeAt(0) });
    for (const item of ['a', 'c', 'e']) from.add(item, { ...inLine, waitsSince: item.charCodeAt(0) });
    for (const item of from.removeAll()) to.add(item, { ...inLine, waitsSince: item.charCodeAt(0) });
    expect(serveAll(to)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });

  it('cost no memory for removed items', () => {
    const turns = new Turns<object>();
    const stays = {};
    turns.add(stays, atOnce);
    const left = Array.from({ length: 1_000 }, () => {
      const item = {};
      turns.add(item, atOnce);
      turns.delete(item);
      return new WeakRef(item);
    });
    // 16 of each heap stay at most until they come to the front.
    return vi.waitFor(() => {
      setFlagsFromString('--expose-gc');
      (runInNewContext('gc') as () => void)();
      expect(left.filter(item => item.deref() !== undefined).length).toBeLessThan(100);
    });
  });

  it('serve a newcomer within four turns, whatever returns with more work, and all in the end', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = createRandom(seed);
      const turns = new Turns<number>();
      const waitsSince = new Map<number, number>();
      const tenants = 50 + Math.floor(random() * 200);
      for (let tenant = 0; tenant < tenants; tenant++) {
        turns.add(tenant, random() < 0.5 ? inLine : atOnce);
        waitsSince.set(tenant, 0);
      }
      for (let turn = 1; turn <= 2_000; turn++) {
        const newcomer = turn % 20 === 0 ? 10_000 + turn : undefined;
        if (newcomer !== undefined) {
          turns.add(newcomer, atOnce);
          waitsSince.set(newcomer, turn);
        }
        const renewed = Math.floor(random() * tenants);
        if (random() < 0.2) turns.renew(renewed, { ...atOnce, addedAt: -1 / turn });
        const next = turns.next(0)!;
        const waited = turn - waitsSince.get(next)!;
        // One of four turns goes to others, and the newcomers themselves stand in line, too.
        expect(waited, `seed ${seed}`).toBeLessThan(next >= 10_000 ? 5 : tenants * 2);
        waitsSince.delete(next);
        if (next < 10_000) {
          turns.add(next, inLine);
          waitsSince.set(next, turn);
        }
      }
      expect(turns.size).toBe(waitsSince.size);
      expect(new Set(turns.removeAll())).toEqual(new Set(waitsSince.keys()));
      expect(turns.next(0)).toBeUndefined();
    }
  });

  it('forget removed items, and refuse one that already waits', () => {
    const turns = new Turns<string>();
    turns.add('a', atOnce);
    turns.add('b', atOnce);
    expect(() => turns.add('a', atOnce)).toThrow('already');
    expect(turns.delete('a')).toBe(true);
    expect(turns.delete('a')).toBe(false);
    turns.add('a', inLine);
    expect([...turns]).toEqual(['b', 'a']);
    expect(serveAll(turns)).toEqual(['b', 'a']);
  });
});
