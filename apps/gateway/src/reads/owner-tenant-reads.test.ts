import { NEWEST_COMMIT_SEQ_SQL, type OnewriterError } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { OwnerTenantReads } from './owner-tenant-reads.ts';

/** A client whose tenant has these commits, one after the other. */
function open(...seqs: number[]) {
  const asked: string[] = [];
  let last = 0;
  const execute = async (sql: string) => {
    asked.push(sql === NEWEST_COMMIT_SEQ_SQL ? 'seq' : sql);
    if (sql !== NEWEST_COMMIT_SEQ_SQL) return { columns: ['a'], rows: [[1], [2]] };
    last = seqs.shift() ?? last;
    return { columns: ['seq'], rows: [[last]] };
  };
  return { asked, reads: new OwnerTenantReads({ tenant: () => ({ execute }) as never }, 500) };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => (error as OnewriterError).code,
  );

it('says which commit a read saw, read before it', async () => {
  const { reads, asked } = open(7);
  const answer = await reads.read({ tenant: 'acme', statements: [{ sql: 'A' }], firstRowOnly: true });
  expect(answer).toEqual({ results: [{ columns: ['a'], rows: [[1]] }], commitSeq: 7 });
  expect(asked).toEqual(['seq', 'A']);
});

it('reads several statements again until no commit came between them', async () => {
  const { reads, asked } = open(7, 8, 8, 8);
  const statements = [{ sql: 'A' }, { sql: 'B' }];
  expect(await reads.read({ tenant: 'acme', statements })).toMatchObject({ commitSeq: 8 });
  expect(asked).toEqual(['seq', 'A', 'B', 'seq', 'seq', 'A', 'B', 'seq']);
  const never = open(...Array.from({ length: 20 }, (_, n) => n));
  expect(await codeOf(never.reads.read({ tenant: 'acme', statements }))).toBe('DATABASE_BUSY');
});

it('waits for a commit, until the deadline', async () => {
  const request = { tenant: 'acme', statements: [{ sql: 'A' }], minCommitSeq: 3 };
  expect(await open(1, 2, 3).reads.read(request)).toMatchObject({ commitSeq: 3 });
  expect(await codeOf(open(1).reads.read({ ...request, timeoutMs: 40 }))).toBe('COMMIT_SEQ_NOT_REACHED');
});

it('streams what came whole', async () => {
  const { columns, chunks } = await open(1).reads.stream({ tenant: 'acme', statements: [{ sql: 'A' }] });
  const rows: unknown[] = [];
  for await (const chunk of chunks) rows.push(...chunk);
  expect([columns, rows]).toEqual([['a'], [[1], [2]]]);
});
