import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const FILES = {
  clients: './clients.e2e.test.ts',
  orms: './orms.e2e.test.ts',
  transactions: './transactions.e2e.test.ts',
  http: '../../apps/gateway/src/dialects/hrana/hrana-routes.test.ts',
} as const;

const read = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

it('names tests that exist, in the files that have them', () => {
  const cells = read('./README.md')
    .split('\n')
    .filter(line => line.startsWith('|'))
    .flatMap(line => line.split(/\||;(?= \w+: ")/));
  let titles = 0;
  for (const cell of cells) {
    const file = /^\s*(clients|orms|transactions|http): "/.exec(cell)?.[1] as keyof typeof FILES | undefined;
    if (file === undefined) continue;
    const source = read(FILES[file]);
    for (const [, title] of cell.matchAll(/"([^"]+)"/g)) {
      titles++;
      expect.soft(source.includes(`'${title}'`), `${file}: ${title}`).toBe(true);
    }
  }
  expect(titles).toBeGreaterThan(50);
});
