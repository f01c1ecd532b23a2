import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnProcess, startStack, temporaryDirectory, withoutSettings } from '@onewriter/testkit';
import { expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

it('runs the first example of README.md as it stands there', async () => {
  const readme = await readFile(join(REPOSITORY, 'README.md'), 'utf8');
  const example = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(example).toContain("from '@onewriter/sdk'");

  // A folder that looks like the root of the repository while `npm start` runs.
  await using root = await temporaryDirectory('readme');
  await symlink(join(REPOSITORY, 'node_modules'), join(root.path, 'node_modules'));
  await mkdir(join(root.path, 'data'));
  await writeFile(join(root.path, 'first.mjs'), example!);
  await using _stack = await startStack({ dataDir: join(root.path, 'data') });

  const first = await spawnProcess(process.execPath, ['first.mjs'], {
    cwd: root.path,
    env: withoutSettings(),
  });
  expect(await first.exited).toEqual({ code: 0, signal: null });
  expect(first.stderr()).toBe('');
  expect(first.stdout()).toMatch(/^\{ changes: 1, lastInsertRowid: 1, commitSeq: \d+ \}\n/);
  expect(first.stdout()).toContain("[ { id: 1, title: 'write once' } ]");
});
