import { expect, it } from 'vitest';
import { sqlResult } from './sql-result.ts';

it('shows a bounded number of values, and short names of columns', () => {
  const columns = Array.from({ length: 2_000 }, (_, index) =>
    index === 0 ? 'n'.repeat(900_000) : `c${index}`,
  );
  const rows = Array.from({ length: 500 }, () => columns.map(() => 1));
  const page = String(sqlResult({ rows: { columns, rows, more: true }, tookMs: 1 }));
  expect(page).toContain('The first 10 rows: this page shows 20000 values at most');
  expect(page.length).toBeLessThan(1_500_000);
  expect(page).toContain('(900000 characters)');
  const small = String(sqlResult({ rows: { columns: ['a'], rows: [[1], [2]], more: true }, tookMs: 1 }));
  expect(small).toContain('The first 2 rows; the statement was stopped there');
});
