import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dataDirTrouble } from './target.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-target-'));
  for (const name of ['empty', 'home/documents', 'tenants-alone/tenants', 'fresh', 'made']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  writeFileSync(join(folder, 'fresh/epoch'), '1\n');
  writeFileSync(join(folder, 'made/token-secret'), 'x');
  writeFileSync(join(folder, 'file'), 'x');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each([
  ['missing', /^There is no folder .*missing\.$/],
  ['file', /file is no folder\.$/],
  ['empty', /empty is empty\.$/],
  ['home', /home is no data directory of Onewriter/],
])('says of %s why it is no data directory', (name, says) => {
  expect(dataDirTrouble(join(folder, name))).toMatch(says);
});

it.each(['tenants-alone', 'fresh', 'made'])('takes %s, in which something of a data directory is', name => {
  expect(dataDirTrouble(join(folder, name))).toBeUndefined();
});
