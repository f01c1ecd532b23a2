import { PROTOCOL_VERSION, receiptId } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { mergeLetters } from './batch-letters.ts';

const job = {
  id: 'w-1',
  data: JSON.stringify({
    ...{ v: PROTOCOL_VERSION, client: 'c-1', seq: 1, at: 0, sql: ['INSERT 1', 'UPDATE 2', 'DELETE 3'] },
    ops: [{ s: 0 }, { t: [{ s: 1 }, { s: 2 }] }, { x: 2 }, null],
  }),
};
const ERROR = { code: 'POISON_JOB', message: 'no' };
const letter = (index: number, sql: string) => ({ receiptId: receiptId('w-1', index), sql, error: ERROR });

it('has a letter for each write of a poisoned job, with its first statement', () => {
  expect(mergeLetters(job, [], { [-1]: ERROR })).toEqual([
    letter(0, 'INSERT 1'),
    letter(1, 'UPDATE 2'),
    letter(2, 'DELETE 3'),
    letter(3, ''),
  ]);
});

it('has one for a write that must not run, beside those of the writer, and none twice', () => {
  const own = { ...letter(1, 'UPDATE 2'), error: { code: 'CONSTRAINT', message: 'unique' } };
  expect(mergeLetters(job, [own], { 0: ERROR, 1: ERROR })).toEqual([own, letter(0, 'INSERT 1')]);
  expect(mergeLetters(job, [own], undefined)).toEqual([own]);
});

it('has none for a job that cannot be read', () => {
  expect(mergeLetters({ id: 'w-1', data: '{' }, [], { [-1]: ERROR })).toEqual([]);
});
