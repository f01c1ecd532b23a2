import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';

const BUILT = new URL('../dist/bounded-process.js', import.meta.url).href;

it.runIf(existsSync('/usr/bin/setpriv'))('ends with its parent, also where it never returns', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-bounded-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const busy = join(folder, 'busy.mjs');
  writeFileSync(busy, "process.send('begun', () => { for (;;); });");
  const parent = spawn(
    process.execPath,
    [
      ...['--input-type=module', '--eval'],
      `import { startBoundedProcess } from ${JSON.stringify(BUILT)};
       const options = { memoryBytes: 512 * 1024 * 1024, stdout: 'ignore', args: [] };
       const { child } = startBoundedProcess(new URL(${JSON.stringify(pathToFileURL(busy).href)}), options);
       child.on('message', () => console.log(child.pid));`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  onTestFinished(() => void parent.kill('SIGKILL'));
  const pid = Number(await new Promise(resolve => parent.stdout.once('data', resolve)));
  onTestFinished(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 10_000 });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // One that has ended, and whose new parent has not asked for its exit code, is a zombie.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
