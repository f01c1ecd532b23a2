import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
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

it.runIf(existsSync('/proc/self/autogroup'))(
  'has a lower priority, in a session of its own, and gets less CPU yet when it becomes background',
  async () => {
    const { startBoundedProcess } = (await import(BUILT)) as typeof import('./bounded-process.ts');
    const { setCpuPriority } = (await import(
      new URL('../dist/cpu-priority.js', import.meta.url).href
    )) as typeof import('./cpu-priority.ts');
    const folder = mkdtempSync(join(tmpdir(), 'onewriter-bounded-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const waiting = join(folder, 'waiting.mjs');
    writeFileSync(waiting, "process.send('begun'); process.on('message', () => {});");
    const start = async (priority: 'usual' | 'low' | 'background' | undefined) => {
      const { child } = startBoundedProcess(pathToFileURL(waiting), {
        ...{ memoryBytes: 512 * 1024 * 1024, stdout: 'ignore', args: [], priority },
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      await new Promise(resolve => child.once('message', resolve));
      return child.pid!;
    };
    /** Niceness of all its threads, and of its session. */
    const niceness = (pid: number) => {
      const threads = readdirSync(`/proc/${pid}/task`).map(thread => getPriority(Number(thread)));
      const session = / nice (\d+)/.exec(readFileSync(`/proc/${pid}/autogroup`, 'utf8'))?.[1];
      return [...new Set(threads), `session ${session}`];
    };
    const own = niceness(process.pid);
    expect(niceness(await start('background'))).toEqual([19, 'session 19']);
    expect(niceness(await start('usual'))[0]).toBe(0);
    const pid = await start(undefined);
    expect(niceness(pid)).toEqual([5, 'session 5']);
    setCpuPriority(pid, 'background');
    expect(niceness(pid)).toEqual([19, 'session 19']);
    expect(niceness(process.pid)).toEqual(own);
  },
);

// Root is not subject to the limit: then the parent gives up its rights.
const isRoot = process.getuid?.() === 0;
it.runIf(existsSync('/proc/self/autogroup') && (!isRoot || existsSync('/usr/bin/setpriv')))(
  'lowers the sessions of all processes that start at once, also without rights',
  async () => {
    const script = `
      import { spawn } from 'node:child_process';
      import { setTimeout as pause } from 'node:timers/promises';
      import { readFileSync } from 'node:fs';
      const { setCpuPriority } = await import(${JSON.stringify(new URL('../dist/cpu-priority.js', import.meta.url).href)});
      const start = () => spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
      const children = [start(), start(), start()];
      const niceness = () => children.map(({ pid }) => Number(/ nice (\\d+)/.exec(readFileSync('/proc/' + pid + '/autogroup'))[1]));
      for (const { pid } of children) setCpuPriority(pid, 'low');
      setCpuPriority(children[0].pid, 'background');
      for (let tries = 0; String(niceness()) !== '19,5,5' && tries < 100; tries++) await pause(50);
      console.log(String(niceness()));
      for (const child of children) child.kill('SIGKILL');`;
    const command = [process.execPath, '--input-type=module', '--eval', script];
    const withoutRights = ['setpriv', '--reuid=65534', '--clear-groups', '--inh-caps=-all'];
    const [file, ...args] = isRoot ? [...withoutRights, ...command] : command;
    const { stdout } = await promisify(execFile)(file!, args, { timeout: 20_000, killSignal: 'SIGKILL' });
    expect(stdout.trim()).toBe('19,5,5');
  },
);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // One that has ended, and whose new parent has not asked for its exit code, is a zombie.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
