import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** Runs vitest on test files of these contents; returns what the reporter wrote. */
async function totalsOf(files: Record<string, string>) {
  const root = await mkdtemp(join(tmpdir(), 'onewriter-reporter-'));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  await symlink(join(REPOSITORY, 'node_modules'), join(root, 'node_modules'));
  await writeFile(join(root, 'package.json'), '{ "type": "module" }');
  for (const [name, content] of Object.entries(files)) {
    const imports = `import { afterAll, beforeAll, describe, expect, it } from 'vitest';\n`;
    await writeFile(join(root, `${name}.test.js`), imports + content);
  }
  const summary = join(root, 'summary.json');
  const reporter = join(REPOSITORY, 'infra/setup/summary-reporter.js');
  const command = ['run', '--root', root, `--reporter=${reporter}`];
  await new Promise<void>(resolve => {
    const environment = { ...process.env, ONEWRITER_TEST_SUMMARY: summary };
    execFile(join(REPOSITORY, 'node_modules/.bin/vitest'), command, { env: environment }, () => resolve());
  });
  return JSON.parse(await readFile(summary, 'utf8'));
}

it('counts passed, failed and skipped tests', async () => {
  expect(
    await totalsOf({
      a: `it('1', () => {}); it('2', () => {}); it.skip('3', () => {});`,
      b: `describe('d', () => { it('4', () => { expect(1).toBe(2); }); });`,
    }),
  ).toEqual({ passed: 2, failed: 1, skipped: 1 });
});

it('counts what fails outside a test', async () => {
  const { passed, failed } = await totalsOf({
    syntax: 'const = 1;',
    hook: `describe('d', () => { beforeAll(() => { throw new Error('no'); }); it('1', () => {}); });`,
    end: `afterAll(() => { throw new Error('left'); }); it('2', () => {});`,
    late: `it('3', () => { void Promise.reject(new Error('unhandled')); });`,
  });
  expect(passed).toBe(2);
  expect(failed).toBe(4);
});
