import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { compareInstalled } from './installed-packages.js';

const HONO = { version: '4.13.19', integrity: 'sha512-a' };
const LOCK = {
  '': { name: 'root' },
  'apps/cli': { name: '@onewriter/cli', version: '0.1.0' },
  'node_modules/@onewriter/cli': { resolved: 'apps/cli', link: true },
  'node_modules/hono': HONO,
  'node_modules/only-on-mac': { version: '1.0.0', optional: true },
};
const { 'node_modules/only-on-mac': _, ...INSTALLED } = LOCK;

async function compare(installed: object | undefined) {
  const root = await mkdtemp(join(tmpdir(), 'onewriter-installed-'));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  await writeFile(join(root, 'package-lock.json'), JSON.stringify({ packages: LOCK }));
  await mkdir(join(root, 'node_modules'));
  if (installed !== undefined) {
    const hidden = join(root, 'node_modules/.package-lock.json');
    await writeFile(hidden, JSON.stringify({ packages: installed }));
  }
  return compareInstalled(root);
}

it.each([
  ['everything for this platform', INSTALLED, 'complete'],
  ['nothing, or an installation that was broken off', undefined, 'none'],
  [
    'another version',
    { ...INSTALLED, 'node_modules/hono': { ...HONO, version: '4.0.0' } },
    'node_modules/hono',
  ],
  [
    'another content',
    { ...INSTALLED, 'node_modules/hono': { ...HONO, integrity: 'b' } },
    'node_modules/hono',
  ],
  ['no link to a workspace', { 'node_modules/hono': HONO }, 'node_modules/@onewriter/cli'],
])('sees %s', async (_, installed, expected) => {
  expect(await compare(installed)).toBe(expected);
});
