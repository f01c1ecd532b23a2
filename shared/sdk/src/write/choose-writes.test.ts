import { LIMITS } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { chooseWrites, FULL_JOB_WRITES } from './choose-writes.ts';
import type { PendingWrite } from './pending-write.ts';

interface Shape {
  readonly sql?: readonly string[];
  readonly operationBytes?: number;
  readonly settled?: boolean;
  readonly alone?: unknown;
}

function write({ sql = ['INSERT'], operationBytes = 100, settled = false, alone }: Shape = {}): PendingWrite {
  return {
    settled,
    payload: settled ? undefined : { sql, operationBytes, alone },
  } as unknown as PendingWrite;
}

const many = (count: number, shape: Shape = {}) => Array.from({ length: count }, () => write(shape));

it('takes the first writes, up to the number of a full job', () => {
  const buffer = many(FULL_JOB_WRITES + 5);
  expect(chooseWrites(buffer)).toEqual({ writes: buffer.slice(0, FULL_JOB_WRITES), taken: FULL_JOB_WRITES });
  expect(FULL_JOB_WRITES).toBeLessThanOrEqual(LIMITS.maxJobOperations);
});

it('leaves out what is settled, and counts it as taken', () => {
  const [first, second] = many(2);
  const buffer = [write({ settled: true }), first!, write({ settled: true }), second!];
  expect(chooseWrites(buffer)).toEqual({ writes: [first, second], taken: 4 });
});

it('counts a text once that several writes share', () => {
  const sql = ['x'.repeat(20_000)];
  expect(chooseWrites(many(10, { sql })).taken).toBe(10);
  expect(chooseWrites(many(10).map((_, index) => write({ sql: [`${sql[0]}${index}`] }))).taken).toBe(2);
});

it('sends alone what is too large for a job of several, or must be alone', () => {
  const large = write({ operationBytes: 1_000_000 });
  const [small] = many(1);
  expect(chooseWrites([large, small!])).toEqual({ writes: [large], taken: 1 });
  expect(chooseWrites([small!, large])).toEqual({ writes: [small], taken: 1 });
  const alone = write({ alone: {} });
  expect(chooseWrites([alone, small!])).toEqual({ writes: [alone], taken: 1 });
  expect(chooseWrites([small!, alone])).toEqual({ writes: [small], taken: 1 });
});
