import { expect, it } from 'vitest';
import { AnswerRoom, resultsWithoutRoom } from './answer-room.ts';

it('bounds the answers that may be in Redis at a time', () => {
  const room = new AnswerRoom(100, 10);
  expect(room.take(60, 0)).toBe(true);
  expect(room.take(60, 5)).toBe(false);
  expect(room.take(40, 5)).toBe(true);
  // The first has expired, the second not yet.
  expect(room.take(61, 10)).toBe(false);
  expect(room.take(60, 10)).toBe(true);
  expect(room.take(100, 21)).toBe(true);
});

it('answers each read of a job without room', () => {
  expect(JSON.parse(resultsWithoutRoom(2))).toEqual([
    { e: expect.objectContaining({ code: 'RATE_LIMITED' }) },
    { e: expect.objectContaining({ code: 'RATE_LIMITED' }) },
  ]);
});
