import { expect, it } from 'vitest';
import { runCli } from '../program.ts';
import { adviseOn } from './import.ts';

const failed = { outcome: 'failed', accepted: 0, skipped: 0, unknown: 0, idempotencyKey: 'k' } as const;
const because = (code: string) => ({ ...failed, error: { code, message: '' } });

it('advises to send the same file again only where that can help', () => {
  const again = /^Send it again with the same file: .* --idempotency-key k$/;
  expect(adviseOn({ ...failed, outcome: 'interrupted', error: null })).toMatch(again);
  for (const code of ['ABORTED', 'BROKER_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'INTERNAL', 'DATABASE_FULL']) {
    expect(adviseOn(because(code)), code).toMatch(again);
  }
  expect(adviseOn({ ...because('INVALID_ARGUMENT'), unknown: 3 })).toMatch(again);
  for (const code of ['INVALID_ARGUMENT', 'CONSTRAINT_VIOLATION']) {
    expect(adviseOn(because(code)), code).toBe('Nothing was committed.');
    expect(adviseOn({ ...because(code), accepted: 1, skipped: 1 })).toMatch(
      /^2 rows stay committed. Send the mended file under --idempotency-key k:/,
    );
  }
  expect(adviseOn(because('IDEMPOTENCY_KEY_REUSED'))).toBe('Nothing more was committed.');
});

it.each([
  [['import', 'acme', 'a.csv', '--table', 't', '--on-conflict', 'foo']],
  [['import', 'acme', 'a.csv', '--table', 't', '--separator', 'foo']],
  [['import', 'acme', 'a.csv', '--table', 't', '--max-rejected', 'foo']],
  [['import', 'acme', 'a.csv']],
  [['import', 'acme', 'a.xls', '--table', 't']],
  [['export', 'acme', 'a.xls']],
  [['sql', 'acme', 'SELECT 1', '--params', '{']],
  [['sql', 'acme', 'SELECT 1; SELECT 2']],
  [['sql', 'acme', 'SELECT 1', '--timeout', 'x']],
])('a wrong value on the command line is a usage error: %j', async args => {
  expect(await runCli(args)).toBe(2);
});
