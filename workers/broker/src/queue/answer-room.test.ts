import { expect, it } from 'vitest';
import { AnswerRoom, resultsWithoutRoom } from './answer-room.ts';

it('bounds the answers that may be in Redis at a time', () => {
  const room = new AnswerRoom(100, 10);
  expect(room.take('a', 40, 0)).toBe(true);
  expect(room.take('b', 40, 5)).toBe(true);
  expect(room.take('c', 30, 5)).toBe(false);
  expect(room.take('c', 20, 5)).toBe(true);
  // The first has expired, the others not yet.
  expect(room.take('d', 41, 10)).toBe(false);
  expect(room.take('d', 40, 10)).toBe(true);
});

it('leaves half of the room to other tenants', () => {
  const room = new AnswerRoom(100, 10);
  expect([room.take('a', 30, 0), room.take('a', 21, 0), room.take('b', 50, 0)]).toEqual([true, false, true]);
  expect([room.take('a', 50, 10), room.take('a', 1, 10)]).toEqual([true, false]);
});

it('answers each read of a job without room', () => {
  expect(JSON.parse(resultsWithoutRoom(2))).toEqual([
    { e: expect.objectContaining({ code: 'RATE_LIMITED' }) },
    { e: expect.objectContaining({ code: 'RATE_LIMITED' }) },
  ]);
});
