import { describe, expect, it } from 'vitest';
import { Turns } from './turns.ts';

const owner = (name: string) => ({ names: [`token ${name}`], isFleet: false });
const settled = () => new Promise(setImmediate);
const OPTIONS = { what: 'tenants that are created', callers: 104, turns: 4, turnsOfOwner: 2 };

describe('Turns', () => {
  it('gives others a turn while one token has all it can of them', async () => {
    const turns = new Turns(OPTIONS);
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const take = async (name: string) => {
      const place = turns.enter(owner(name));
      await place.turn();
      begun.push(name);
      ends.push(() => place.leave());
    };
    const greedy = Array.from({ length: 26 }, () => take('greedy'));
    const other = [take('other'), take('other')];
    await settled();
    expect(begun).toEqual(['greedy', 'greedy', 'other', 'other']);
    expect(() => turns.enter(owner('greedy'))).toThrow(
      expect.objectContaining({ code: 'RATE_LIMITED', details: { retryAfterMs: 1_000 } }),
    );
    const third = take('third');
    ends[2]!();
    await third;
    for (let index = 0; index < 29; index++) {
      ends[index === 2 ? 0 : index]?.();
      await settled();
    }
    await Promise.all([...greedy, ...other]);
    expect(begun).toHaveLength(29);
  });

  it('lets one that waits leave, and those behind it pass', async () => {
    const turns = new Turns({ ...OPTIONS, turns: 1, turnsOfOwner: 1 });
    const first = turns.enter(owner('a'));
    await first.turn();
    const stopping = new AbortController();
    const second = turns.enter(owner('b'));
    const waits = second.turn(stopping.signal);
    const third = turns.enter(owner('c'));
    const passes = third.turn();
    stopping.abort(new Error('enough'));
    await expect(waits).rejects.toThrow('enough');
    second.leave();
    second.leave();
    first.leave();
    await passes;
    third.leave();
    await expect(turns.enter(owner('d')).turn(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});
