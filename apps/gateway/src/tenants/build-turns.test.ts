import { describe, expect, it } from 'vitest';
import { BuildTurns } from './build-tenant.ts';

const owner = (name: string) => ({ names: [`token ${name}`], isFleet: false });
const settled = () => new Promise(setImmediate);

describe('BuildTurns', () => {
  it('gives others a turn while one token has all it can of them', async () => {
    const turns = new BuildTurns();
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const take = (name: string) =>
      turns.take(owner(name)).then(end => {
        begun.push(name);
        ends.push(end);
      });
    const greedy = Array.from({ length: 26 }, () => take('greedy'));
    const other = [take('other'), take('other')];
    await settled();
    expect(begun).toEqual(['greedy', 'greedy', 'other', 'other']);
    await expect(turns.take(owner('greedy'))).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      details: { retryAfterMs: 1_000 },
    });
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
});
