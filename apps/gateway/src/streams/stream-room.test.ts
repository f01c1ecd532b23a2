import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type StreamRoom, StreamRooms } from './stream-room.ts';

const LIMITS = {
  ...{ maxStreamWrites: 20, maxStreamBytes: 2_000, maxTenantWrites: 30, maxTenantBytes: 3_000 },
  ...{ maxWrites: 80, maxBytes: 8_000 },
};

function fill(room: StreamRoom, bytes = 1): number {
  let taken = 0;
  while (room.tryTake(bytes)) taken++;
  return taken;
}

describe('StreamRooms', () => {
  it('gives a stream no more than its own bound, a tenant’s streams equal shares, and tenants, too', () => {
    const rooms = new StreamRooms(LIMITS);
    const alone = rooms.open('a');
    expect(fill(alone)).toBe(20);
    alone.close();
    const three = ['a', 'a', 'a'].map(tenant => rooms.open(tenant));
    expect(three.map(room => fill(room))).toEqual([10, 10, 10]);
    for (const room of three) room.close();
    const many = Array.from({ length: 8 }, (_, index) => rooms.open(`t${index}`));
    expect(many.map(room => fill(room))).toEqual(Array(8).fill(10));
    expect(many.map(room => fill(room, 1_000_000))).toEqual(Array(8).fill(0));
    for (const room of many) room.close();
    expect(rooms.used).toEqual({ streams: 0, writes: 0, bytes: 0 });
  });

  it('counts what others hold over their shares since a stream is new', () => {
    const rooms = new StreamRooms(LIMITS);
    const first = rooms.open('a');
    expect(fill(first, 150)).toBe(13);
    const [second, third] = [rooms.open('a'), rooms.open('a')];
    expect(fill(second, 150)).toBe(6);
    // 2,850 of 3,000 bytes are taken: it gets the write that each may have.
    expect(fill(third, 150)).toBe(1);
    first.give(10, 1_500);
    expect(fill(third, 150)).toBe(5);
    expect(rooms.peak.tenantBytes).toBe(3_000);
  });

  it('wakes those that wait when room is released, or another stream ends', () => {
    const rooms = new StreamRooms(LIMITS);
    const [one, two] = [rooms.open('a'), rooms.open('a')];
    fill(one);
    const woken: string[] = [];
    one.whenFree(() => woken.push('given'));
    two.tryTake(1);
    two.give(1, 1);
    expect(woken).toEqual(['given']);
    one.whenFree(() => woken.push('ended'));
    two.close();
    two.close();
    expect(woken).toEqual(['given', 'ended']);
    expect(fill(one)).toBe(5);
    expect(() => one.give(21, 0)).toThrow(/More room was released/);
  });

  it('keeps its bounds except for one write of each stream, and lets each of them continue', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            stream: fc.nat(11),
            act: fc.constantFrom('take', 'take', 'take', 'give', 'reopen'),
            bytes: fc.integer({ min: 0, max: 5_000 }),
          }),
          { maxLength: 400 },
        ),
        steps => {
          const rooms = new StreamRooms(LIMITS);
          const open = (index: number) => ({ room: rooms.open(`t${index % 4}`), held: [] as number[] });
          const streams = Array.from({ length: 12 }, (_, index) => open(index));
          let largest = 0;
          for (const { stream: index, act, bytes } of steps) {
            const stream = streams[index]!;
            if (act === 'take' && stream.room.tryTake(bytes)) {
              stream.held.push(bytes);
              largest = Math.max(largest, bytes);
            } else if (act === 'take') expect(stream.held).not.toEqual([]);
            else if (act === 'give' && stream.held.length > 0) stream.room.give(1, stream.held.shift()!);
            else if (act === 'reopen') {
              stream.room.close();
              streams[index] = open(index);
            }
          }
          expect(rooms.peak.tenantWrites).toBeLessThanOrEqual(LIMITS.maxTenantWrites + 3);
          expect(rooms.peak.tenantBytes).toBeLessThanOrEqual(LIMITS.maxTenantBytes + 3 * largest);
          expect(rooms.peak.writes).toBeLessThanOrEqual(LIMITS.maxWrites + 12);
          expect(rooms.peak.bytes).toBeLessThanOrEqual(LIMITS.maxBytes + 12 * largest);
          for (const { room } of streams) room.close();
          expect(rooms.used).toEqual({ streams: 0, writes: 0, bytes: 0 });
        },
      ),
    );
  });
});
