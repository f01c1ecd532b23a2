import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
import { StarvationWatch, threadTimes } from './starvation.ts';

/** A process that prints what a script says, and ends with the test. */
function run(script: string): { readonly child: ChildProcess; readonly output: () => string } {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: import.meta.dirname,
  });
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', chunk => {
    text += chunk;
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return { child, output: () => text };
}

/** Prints what the machine took from it in some time after its start, in which it works for 300 ms. */
const WORKING = `
  import { monotonicMs } from './dist/journal.js';
  import { Starvation } from './dist/starvation.js';
  const starvation = new Starvation(() => 0);
  const at = monotonicMs();
  console.log('begun');
  setTimeout(() => {
    const until = performance.now() + 300;
    while (performance.now() < until);
    setTimeout(() => console.log(JSON.stringify(starvation.since(at))), 400);
  }, 200);
`;

const isLinux = process.platform === 'linux';

it.runIf(isLinux)(
  'takes a process that was stopped for starved, and one that works for nothing of the kind',
  async () => {
    const starved = async (stoppedMs: number) => {
      const { child, output } = run(WORKING);
      await waitFor(() => output().includes('begun'), { what: 'a start', timeoutMs: 10_000, intervalMs: 2 });
      const waitedBefore = threadTimes(child.pid!)!.waitedMs;
      if (stoppedMs > 0) {
        child.kill('SIGSTOP');
        const until = performance.now() + stoppedMs;
        await waitFor(() => performance.now() >= until, { what: 'time', timeoutMs: 10_000, intervalMs: 5 });
        child.kill('SIGCONT');
      }
      let waitedMs = 0;
      await waitFor(
        () => {
          waitedMs = (threadTimes(child.pid!)?.waitedMs ?? waitedBefore + waitedMs) - waitedBefore;
          return output().trim().split('\n').length === 2;
        },
        { what: 'its figure', timeoutMs: 20_000, intervalMs: 2 },
      );
      return Number(output().trim().split('\n')[1]) - waitedMs;
    };
    // Apart from what a busy machine really took.
    expect(await starved(0)).toBeLessThan(100);
    const stopped = await starved(1_000);
    expect(stopped).toBeGreaterThan(800);
    expect(stopped).toBeLessThan(1_200);
  },
);

it.runIf(isLinux)('sees from outside when a process waits for a CPU', async () => {
  // Two that want the same one.
  const spin = 'for (;;);';
  const children = [run(spin), run(spin)].map(({ child }) => child);
  for (const { pid } of children) {
    const [code] = (await once(spawn('taskset', ['-pc', '0', String(pid)], { stdio: 'ignore' }), 'exit')) as [
      number,
    ];
    expect(code).toBe(0);
  }
  const watch = new StarvationWatch(() => children[0]!.pid);
  onTestFinished(() => watch.stop());
  const waited = () => watch.spans.reduce((sum, { ms }) => sum + ms, 0);
  await waitFor(() => waited() > 200, { what: 'a process that waits', timeoutMs: 20_000, intervalMs: 20 });
  expect(watch.spans.every(({ from, to, ms }) => ms <= to - from + 50)).toBe(true);
});
