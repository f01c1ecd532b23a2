import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyTurns } from './body-turns.ts';

describe('BodyTurns', () => {
  it('takes the owner whose bodies took the least time lately', () => {
    const turns = new BodyTurns<string>(2);
    for (const [owner, ms] of [
      ['costly', 900],
      ['usual', 20],
    ] as const) {
      turns.add(owner, 'first');
      expect(turns.next(0)).toMatchObject({ owner, body: 'first' });
      turns.end(owner, ms, 0);
    }
    turns.add('costly', 'a');
    turns.add('usual', 'b');
    turns.add('new', 'c');
    expect(turns.next(1)).toMatchObject({ owner: 'new', body: 'c' });
    expect(turns.next(1)).toMatchObject({ owner: 'usual', body: 'b' });
    expect(turns.next(1)).toMatchObject({ owner: 'costly', body: 'a', isLong: true });
    expect(turns.next(1)).toBeUndefined();
  });

  it('gives a thread that takes no long bodies to none of their owners, until they are forgotten', () => {
    const turns = new BodyTurns<string>(2);
    for (const [owner, cpuMs] of [
      ['long', 400],
      ['late', 40],
    ] as const) {
      turns.add(owner, '');
      turns.next(0);
      // Both had to wait for a CPU.
      turns.end(owner, 900, 0, cpuMs);
      turns.add(owner, owner);
    }
    expect([turns.size, turns.next(1, false)?.owner, turns.next(1, false)]).toEqual([2, 'late', undefined]);
    expect(turns.next(5_100, false)).toMatchObject({ owner: 'long', isLong: false });
  });

  it('keeps large bodies from a thread that takes no long ones, and what its owner sent after them', () => {
    const turns = new BodyTurns<string>(2, body => body === 'large');
    for (const body of ['large', 'small']) turns.add('a', body);
    turns.add('b', 'small');
    expect([turns.next(0, false)?.owner, turns.next(0, false)]).toEqual(['b', undefined]);
    expect(turns.next(0)).toMatchObject({ owner: 'a', body: 'large' });
    turns.end('a', 1, 0);
    expect(turns.next(1, false)).toMatchObject({ owner: 'a', body: 'small' });
  });

  it('forgets what an owner took after some time', () => {
    const turns = new BodyTurns<string>(2);
    for (const owner of ['old', 'recent']) {
      turns.add(owner, '');
      turns.next(0);
      turns.end(owner, owner === 'old' ? 1_000 : 100, owner === 'old' ? 0 : 60_000);
      turns.add(owner, owner);
    }
    expect(turns.next(60_000)?.owner).toBe('old');
  });

  it('reads each body once, and an owner never has all threads', () => {
    const step = fc.record({
      owner: fc.nat(3).map(String),
      what: fc.constantFrom('add', 'add', 'next', 'end', 'remove'),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), (threads, steps) => {
        const turns = new BodyTurns<number>(threads);
        const waiting = new Map<string, number[]>();
        const running: string[] = [];
        for (const [number, { owner, what }] of steps.entries()) {
          const own = waiting.get(owner) ?? [];
          waiting.set(owner, own);
          if (what === 'add') {
            turns.add(owner, number);
            own.push(number);
          } else if (what === 'remove' && own.length > 0) turns.remove(owner, own.pop()!);
          else if (what === 'end' && running.length > 0) turns.end(running.shift()!, number, number);
          else if (what === 'next') {
            const turn = turns.next(number);
            if (turn === undefined) {
              for (const [name, bodies] of waiting)
                expect(
                  bodies.length === 0 || running.filter(other => other === name).length >= most(threads),
                ).toBe(true);
              continue;
            }
            // Of one owner in the order in which they came.
            expect(turn.body).toBe(waiting.get(turn.owner)!.shift());
            running.push(turn.owner);
            expect(running.filter(other => other === turn.owner).length).toBeLessThanOrEqual(most(threads));
          }
        }
        expect(turns.clear().sort()).toEqual([...waiting.values()].flat().sort());
      }),
    );
  });

  it('does not remember owners without end', () => {
    const turns = new BodyTurns<string>(2);
    for (let index = 0; index < 2_000; index++) {
      turns.add(`o${index}`, '');
      turns.next(0);
      turns.end(`o${index}`, 1 + index, 0);
    }
    // The oldest is as one that was never there; the youngest is not.
    turns.add('o1999', '');
    turns.add('o0', '');
    expect(turns.next(0)?.owner).toBe('o0');
  });
});

function most(threads: number): number {
  return Math.max(1, threads - 1);
}
