import { existsSync } from 'node:fs';
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

it('runs the requests of README.md as they stand there', async () => {
  const readme = await readFile(join(REPOSITORY, 'README.md'), 'utf8');
  const requests = /```sh\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(requests).toContain('curl -sS');

  await using root = await temporaryDirectory('readme');
  await symlink(join(REPOSITORY, 'node_modules'), join(root.path, 'node_modules'));
  await mkdir(join(root.path, 'data'));
  await using _stack = await startStack({ dataDir: join(root.path, 'data') });

  const shell = await spawnProcess('sh', ['-ec', requests!], { cwd: root.path, env: withoutSettings() });
  expect(await shell.exited).toEqual({ code: 0, signal: null });
  expect(shell.stdout()).toContain('"changes":1');
  expect(shell.stdout()).toMatch(/"rows":\[\{"text":"hello"\}\]/);
});

it('names in docs/limits.md and SECURITY.md only files that there are', async () => {
  const limits = (await readFile(join(REPOSITORY, 'docs/limits.md'), 'utf8')).replaceAll(
    '`src/',
    '`apps/gateway/src/',
  );
  const security = await readFile(join(REPOSITORY, 'SECURITY.md'), 'utf8');
  const paths = [...(limits + security).matchAll(/`((?:apps|shared|test|workers)\/[\w./-]+)`/g)].map(
    ([, path]) => path!,
  );
  expect(paths.length).toBeGreaterThan(40);
  expect(paths.filter(path => !existsSync(join(REPOSITORY, path)))).toEqual([]);
});
