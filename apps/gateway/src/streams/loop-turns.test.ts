import { describe, expect, it } from 'vitest';
import { LoopTurns } from './loop-turns.ts';

describe('LoopTurns', () => {
  it('lets one stream work in a turn of the event loop, tenants in turns and each one’s streams in order', async () => {
    const turns = new LoopTurns();
    const order: string[] = [];
    let loop = 0;
    let done = false;
    const count = () => {
      loop++;
      if (!done) setImmediate(count);
    };
    setImmediate(count);
    const work = async (tenant: string, stream: string) => {
      for (let slice = 0; slice < 3; slice++) {
        await turns.next(tenant);
        order.push(`${stream}${loop}`);
      }
    };
    await Promise.all([work('a', 'a'), work('a', 'A'), work('b', 'b')]);
    done = true;
    expect(order.map(slice => slice[0]).join('')).toBe('abAbabAaA');
    // No two slices in one turn.
    expect(new Set(order.map(slice => slice.slice(1))).size).toBe(order.length);
  });
});
