import { expect, it } from 'vitest';
import { takesLong } from './takes-long.ts';

it('knows bodies that are long, or have many names or statements', () => {
  const names = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, name) => [name, 1]));
  for (const [body, long] of [
    ['x'.repeat(65_535), false],
    ['x'.repeat(65_536), true],
    [JSON.stringify(names(1_000)), false],
    [JSON.stringify(names(1_001)), true],
    [JSON.stringify({ sql: 'VACUUM;'.repeat(1_000) }), false],
    [JSON.stringify({ sql: 'VACUUM;'.repeat(1_001) }), true],
  ] as const) {
    expect(takesLong(body)).toBe(long);
    expect(takesLong(new TextEncoder().encode(body))).toBe(long);
  }
});
