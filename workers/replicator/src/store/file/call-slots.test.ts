import { expect, it } from 'vitest';
import { CallSlots } from './call-slots.ts';

it('lets so many through at a time, the longest waiting first, and none that gave up', async () => {
  const slots = new CallSlots(2);
  const { signal } = new AbortController();
  const stop = new AbortController();
  const through: string[] = [];
  const take = (name: string, given = signal) => slots.take(given).then(() => through.push(name));
  const [first, second] = [take('first'), take('second')];
  const gone = take('gone', stop.signal);
  const [third, fourth] = [take('third'), take('fourth')];
  await Promise.all([first, second]);
  stop.abort();
  await expect(gone).rejects.toThrow('does not answer');
  expect(through).toEqual(['first', 'second']);
  slots.give();
  await third;
  expect(through).toEqual(['first', 'second', 'third']);
  slots.give();
  await fourth;
  slots.give();
  slots.give();
  // Both are free again.
  await Promise.all([take('fifth'), take('sixth')]);
  expect(through).toEqual(['first', 'second', 'third', 'fourth', 'fifth', 'sixth']);
});
