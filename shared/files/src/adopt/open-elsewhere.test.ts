import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { findLastingOpeners, findOpeners } from './open-elsewhere.ts';

/** A process that has a file open until it is ended. */
async function openElsewhere(): Promise<{ readonly path: string; readonly child: ChildProcess }> {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-openers-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a.db');
  writeFileSync(path, '');
  const file = openSync(path, 'r');
  const child = spawn('sleep', ['60'], { stdio: [file, 'ignore', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'spawn');
  closeSync(file);
  return { path, child };
}

it('waits for a process that is about to close a file', async () => {
  const { path, child } = await openElsewhere();
  expect(findOpeners().of(path)).toMatchObject([{ pid: child.pid }]);
  const looked = findLastingOpeners([path], 10_000);
  child.kill('SIGKILL');
  expect((await looked).of(path)).toEqual([]);
});

it('names one that keeps a file open', async () => {
  const { path, child } = await openElsewhere();
  const openers = await findLastingOpeners([path], 250);
  expect(openers.of(path)).toEqual([{ pid: child.pid, command: 'sleep 60' }]);
});
