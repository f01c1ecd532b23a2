import type { JobOutcome } from '@onewriter/writer';
import { expect, it } from 'vitest';
import { toFinishedJob } from './finished-record.ts';

const OUTCOME = { client: 'c-1', writes: 2, failures: 1, duplicate: false, commitSeq: 7, results: '[]' };
const keptOf = (outcome: JobOutcome) => JSON.parse(toFinishedJob(outcome).value);

it('says whether the ledger has a row of steps that run alone, and says nothing for other jobs', () => {
  const job = { commitSeq: 7, writes: 2, failures: 1 };
  expect(keptOf({ ...OUTCOME, id: 'w-1' })).toEqual(job);
  expect(keptOf({ ...OUTCOME, id: 'b-1' })).toEqual({ ...job, recorded: true });
  // No commit, or an open transaction: only Redis has the answer.
  expect(keptOf({ ...OUTCOME, id: 'b-1', commitSeq: 0, answer: '[]' })).toEqual({
    ...job,
    commitSeq: 0,
    recorded: false,
  });
  expect(keptOf({ ...OUTCOME, id: 's-1', answer: '[]' })).toEqual({ ...job, recorded: false });
  // It was redelivered while the transaction was open.
  expect(keptOf({ ...OUTCOME, id: 's-1', commitSeq: 0, duplicate: true })).toMatchObject({
    recorded: false,
  });
});

it('keeps the reason of a failure', () => {
  const error = { code: 'UNSUPPORTED_VERSION', message: 'too new' };
  expect(toFinishedJob({ ...OUTCOME, id: 's-1', error })).toEqual({
    id: 's-1',
    state: 'failed',
    value: 'UNSUPPORTED_VERSION: too new',
  });
});
