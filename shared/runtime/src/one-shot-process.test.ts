import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OnewriterError } from '@onewriter/protocol';
import { expect, it, onTestFinished, vi } from 'vitest';
import { type OneShotOptions, runOneShot } from './one-shot-process.ts';

const MEMORY_BYTES = 512 * 1024 * 1024;

/** Runs a script as the process. */
function run(script: string, options: Partial<OneShotOptions> = {}): Promise<object> {
  const folder = mkdtempSync(join(tmpdir(), 'one-shot-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const entry = join(folder, 'process.cjs');
  writeFileSync(entry, script);
  return runOneShot(pathToFileURL(entry), {
    memoryBytes: MEMORY_BYTES,
    timeoutMs: 20_000,
    tenant: 'acme',
    what: 'The work',
    tooLarge: () => new OnewriterError('RESULT_TOO_LARGE', 'too large'),
    ...options,
  });
}

const answers = (text: string) => `process.send(${text}, () => process.exit(0));`;
const waits = "process.on('disconnect', () => process.exit(1)); setInterval(() => {}, 1_000);";

it('answers, by its arguments or its task', async () => {
  expect(await run(answers('{ argument: process.argv[2] }'), { args: ['a'] })).toEqual({ argument: 'a' });
  const task = { large: 'x'.repeat(1_000_000) };
  const length = await run(
    `process.once('message', ({ large }) => ${answers('{ length: large.length }').slice(0, -1)});`,
    { task },
  );
  expect(length).toEqual({ length: 1_000_000 });
});

it('fails with the error that the process answers, or that it has no answer', async () => {
  const error = "{ error: { code: 'DATABASE_CORRUPT', message: 'no' } }";
  await expect(run(answers(error))).rejects.toMatchObject({ code: 'DATABASE_CORRUPT', message: 'no' });
  await expect(run('process.exit(3)')).rejects.toMatchObject({
    code: 'INTERNAL',
    details: { tenant: 'acme' },
  });
});

it('stops a process that takes too long, or whose caller goes away', async () => {
  await expect(run(waits, { timeoutMs: 100 })).rejects.toMatchObject({
    code: 'STATEMENT_TIMEOUT',
    message: 'The work took longer than 100 ms and was stopped.',
  });
  const caller = new AbortController();
  const folder = mkdtempSync(join(tmpdir(), 'one-shot-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'pid');
  const script = `require('node:fs').writeFileSync(${JSON.stringify(path)}, ''); ${waits}`;
  const running = run(script, { signal: caller.signal });
  const failed = expect(running).rejects.toMatchObject({ code: 'ABORTED' });
  await vi.waitUntil(() => existsSync(path), { timeout: 10_000 });
  caller.abort();
  await failed;
  await expect(run(waits, { signal: caller.signal })).rejects.toMatchObject({ code: 'ABORTED' });
});

it('says that it took too much memory', async () => {
  const script = 'const all = []; for (;;) all.push(new Array(1_000_000).fill(all.length));';
  await expect(run(script, { memoryBytes: 256 * 1024 * 1024 })).rejects.toMatchObject({
    code: 'RESULT_TOO_LARGE',
  });
});

it('keeps the environment of this process from it', async () => {
  vi.stubEnv('ONEWRITER_TOKEN_SECRET', 'secret');
  onTestFinished(() => void vi.unstubAllEnvs());
  const names = (await run(answers('{ names: Object.keys(process.env) }'))) as { names: string[] };
  expect(names.names).toContain('PATH');
  expect(names.names).not.toContain('ONEWRITER_TOKEN_SECRET');
});
