import { OnewriterError } from '@onewriter/protocol';
import type { StepsAnswer, StepsRequest } from '@onewriter/sdk';
import { expect, it } from 'vitest';
import { OwnerReadSteps } from './owner-read-steps.ts';
import type { ReadSteps, ReadStepsRequest, StepPiece } from './read-steps.ts';

const DONE = { type: 'ok', columns: [], rows: [], changes: 0, lastInsertRowid: null, durationMs: 0 } as const;
const OPEN = { results: [DONE], autocommit: false } as const;

/** @param answers of the owner, in order; none: the tenant has no file */
function open(...answers: StepsAnswer[]) {
  const asked: StepsRequest[] = [];
  const onEmpty: (ReadStepsRequest | string)[] = [];
  const steps = async (request: StepsRequest) => {
    asked.push(request);
    const answer = answers.shift();
    if (answer === undefined) throw new OnewriterError('TENANT_NOT_FOUND', 'none');
    return answer;
  };
  const empty = {
    run: async (request: ReadStepsRequest) => {
      onEmpty.push(request);
      return { ...OPEN, commitSeq: undefined, lost: false };
    },
    stream: async function* () {
      onEmpty.push('stream');
      yield { type: 'end' };
    },
    release: (name: string) => onEmpty.push(name),
  } as Partial<ReadSteps> as ReadSteps;
  return { asked, onEmpty, reads: new OwnerReadSteps({ tenant: () => ({ steps }) as never }, empty, 500) };
}

const request = (more: Partial<ReadStepsRequest> = {}): ReadStepsRequest => ({
  ...{ tenant: 'acme', steps: [{ sql: 'SELECT 1' }], emptyIfMissing: true, ...more },
});

it('a transaction goes on with what it has seen, once it has read', async () => {
  const seen = { commitSeq: 7, incarnation: 'abc' };
  const { asked, reads } = open(OPEN, { ...OPEN, ...seen }, OPEN, { ...OPEN, autocommit: true });
  await reads.run(request({ keep: 'a' }));
  expect(await reads.run(request({ resume: 'a', keep: 'b' }))).toMatchObject(seen);
  expect(await reads.run(request({ resume: 'b', keep: 'c' }))).toMatchObject(seen);
  await reads.run(request({ resume: 'c', keep: 'd' }));
  const inside = { readOnly: 'inside', expectCommitSeq: 7, expectIncarnation: 'abc' };
  expect(asked).toMatchObject([
    { readOnly: 'outside' },
    { readOnly: 'inside', expectCommitSeq: undefined, expectIncarnation: undefined },
    inside,
    inside,
  ]);
  const gone = { code: 'TRANSACTION_TIMEOUT' };
  for (const resume of ['a', 'd']) await expect(reads.run(request({ resume }))).rejects.toMatchObject(gone);
});

it('a tenant without a file is empty, and stays so to its transaction', async () => {
  const { asked, onEmpty, reads } = open();
  await reads.run(request({ keep: 'a' }));
  await reads.run(request({ resume: 'a', keep: 'b' }));
  reads.release('b');
  expect(asked).toHaveLength(1);
  expect(onEmpty).toEqual([expect.anything(), expect.objectContaining({ resume: 'a', keep: 'b' }), 'b']);
  await expect(reads.run(request({ emptyIfMissing: false }))).rejects.toMatchObject({
    code: 'TENANT_NOT_FOUND',
  });
});

it('streams what it has', async () => {
  const error = { code: 'SQL_ERROR', message: 'no' } as const;
  const results = [{ ...DONE, rows: [[1n]] }, { type: 'skipped' }, { type: 'error', error }] as const;
  const { onEmpty, reads } = open();
  expect(await all(reads)).toEqual([{ type: 'end' }]);
  expect(onEmpty).toEqual(['stream']);
  expect(await all(open({ results, autocommit: true }).reads)).toEqual([
    { type: 'begin', step: 0, columns: [] },
    { type: 'rows', rows: [[1n]] },
    { type: 'end' },
    { type: 'error', step: 2, error },
  ]);
});

async function all(reads: OwnerReadSteps): Promise<StepPiece[]> {
  const pieces: StepPiece[] = [];
  for await (const piece of reads.stream(request())) pieces.push(piece);
  return pieces;
}
