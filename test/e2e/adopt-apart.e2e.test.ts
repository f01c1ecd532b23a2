import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { callInThread } from '@onewriter/files';
import { tenantFile } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import {
  CLI_MAIN,
  spawnProcess,
  startStack,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
import { runCli } from './cli-run.ts';

/* An adoption or a release that takes long: what happens meanwhile. */

it('works in a thread, so that the process renews its hold', async () => {
  const folder = await temporaryDirectory('thread');
  onTestFinished(() => folder.remove());
  const path = join(folder.path, 'work.mjs');
  writeFileSync(
    path,
    `export const block = ms => (Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms), 'done');
     export const fail = () => { throw Object.assign(new Error('no'), { code: 'ENOSPC' }); };
     export const end = () => process.exit(3);`,
  );
  const { block, fail, end } = await import(path);
  const call = callInThread(pathToFileURL(path).href);
  let beats = 0;
  const beat = setInterval(() => beats++, 10);
  onTestFinished(() => clearInterval(beat));
  expect(await call(block, 500)).toBe('done');
  expect(beats).toBeGreaterThan(5);
  await expect(call(fail)).rejects.toMatchObject({ code: 'DATABASE_FULL' });
  await expect(call(end)).rejects.toMatchObject({
    code: 'INTERNAL',
    message: expect.stringMatching(/code 3/),
  });
});

it('releases no tenant for which a write came while it was copied', async () => {
  const stack = await startStack();
  onTestFinished(async () => void (await stack.stop()));
  const app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  onTestFinished(() => app.close());
  const tenant = app.tenant('acme');
  await tenant.exec('CREATE TABLE notes(text)');
  for (let row = 0; row < 8; row++)
    await tenant.prepare('INSERT INTO notes VALUES (randomblob(8000000))').run();
  const out = await temporaryDirectory('release-out');
  onTestFinished(() => out.remove());
  const args = ['release', 'acme', '--to', out.path, '--data-dir', stack.dataDir];
  const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env: withoutSettings() });
  await waitFor(() => readdirSync(out.path).length > 0, { intervalMs: 1, what: 'the copy' });
  const receipt = await tenant.enqueue("INSERT INTO notes VALUES ('late')");
  const { code } = await command.exited;
  expect([code, command.logs()]).toEqual([1, expect.stringMatching(/TENANT_BUSY 1 job waits/)]);
  expect(readdirSync(out.path)).toEqual([]);
  expect(existsSync(tenantFile(stack.dataDir, 'acme'))).toBe(true);
  await receipt.committed();

  // Neither lets go of its hold: the large file is read in a thread.
  const run = async (...words: string[]) => {
    const done = await runCli([...words, '--data-dir', stack.dataDir]);
    expect(done.code, done.stderr).toBe(0);
  };
  await run('release', 'acme', '--to', out.path);
  expect(readdirSync(out.path)).toEqual(['acme.db']);
  await run('adopt', out.path, '--apply');
  expect(readdirSync(out.path)).toEqual([]);
  await run('tenants', 'resume', 'acme');
  await tenant.prepare("INSERT INTO notes VALUES ('again')").run();
  expect(await tenant.prepare('SELECT count(*) AS n FROM notes').get()).toEqual({ n: 10 });
}, 60_000);
