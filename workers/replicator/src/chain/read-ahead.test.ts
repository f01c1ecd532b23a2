import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { readAhead } from './read-ahead.ts';

const numbers = Array.from({ length: 20 }, (_, index) => index);

it('reads some at a time, within both bounds, and gives them in order', async () => {
  let [underWay, most] = [0, 0];
  const read = async (number: number) => {
    most = Math.max(most, ++underWay);
    for (let turn = 0; turn < (number * 7) % 5; turn++) await setImmediate();
    underWay--;
    return number;
  };
  const bounds = { calls: 8, bytes: 30, bytesOf: () => 10 };
  const seen: number[] = [];
  for await (const number of readAhead(numbers, bounds, read)) seen.push(number);
  expect(seen).toEqual(numbers);
  expect(most).toBe(3);
  const large = readAhead([1], { ...bounds, bytes: 1 }, read);
  expect((await large.next()).value).toBe(1);
});

it('gives up what is under way when it is left, and throws an error in its turn', async () => {
  let givenUp = 0;
  const read = (number: number, signal: AbortSignal) =>
    number < 3
      ? Promise.resolve(number)
      : new Promise<number>((_, reject) => {
          if (number === 3) reject(new Error('the third'));
          signal.addEventListener('abort', () => {
            givenUp++;
            reject(new Error('given up'));
          });
        });
  const seen: number[] = [];
  const bounds = { calls: 6, bytes: 1, bytesOf: () => 0 };
  const reading = async () => {
    for await (const number of readAhead(numbers, bounds, read)) seen.push(number);
  };
  await expect(reading()).rejects.toThrow('the third');
  expect(seen).toEqual([0, 1, 2]);
  expect(givenUp).toBeGreaterThan(2);
});
