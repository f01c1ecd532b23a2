import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { parseJobs, parseTimeout } from './job-options.ts';

it('takes --jobs from 1 to 64; its default is no more than the machine has processors', () => {
  expect(['1', '7', '64'].map(parseJobs)).toEqual([1, 7, 64]);
  const chosen = parseJobs(undefined);
  expect(chosen).toBeGreaterThanOrEqual(1);
  expect(chosen).toBeLessThanOrEqual(Math.min(4, availableParallelism()));
});

it.each(['0', '65', '1.5', 'many', ''])('refuses --jobs %s', text => {
  expect(() => parseJobs(text)).toThrow(/--jobs takes a number from 1 to 64/);
});

it('takes --timeout in seconds', () => {
  expect(['0.5', '90', undefined].map(parseTimeout)).toEqual([500, 90_000, undefined]);
  for (const text of ['0', '-1', 'soon', '3000000']) expect(() => parseTimeout(text)).toThrow(/--timeout/);
});
