import { expect, it } from 'vitest';
import { generateWorkload } from './workload.ts';

it('is the same for the same options, and of every kind', () => {
  const options = { seed: 7, actor: 'a', operations: 500 };
  const operations = [...generateWorkload(options)];
  expect([...generateWorkload(options)]).toEqual(operations);
  expect([...generateWorkload({ ...options, seed: 8 })]).not.toEqual(operations);
  expect(new Set(operations.map(operation => operation.kind)).size).toBe(11);
});
