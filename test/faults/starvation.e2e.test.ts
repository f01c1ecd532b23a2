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

/** Sleeps in one turn, as for a garbage collection of several threads, while threads of its own want more CPUs than there are. */
const HELPED = (threads: number) => `
  import { cpus } from 'node:os';
  import { Worker } from 'node:worker_threads';
  import { monotonicMs } from './dist/journal.js';
  import { Starvation } from './dist/starvation.js';
  const spin = 'const until = performance.now() + 4000; while (performance.now() < until);';
  const workers = Array.from({ length: ${threads} * cpus().length }, () => new Worker(spin, { eval: true }));
  await Promise.all(workers.map(worker => new Promise(resolve => worker.once('online', resolve))));
  const starvation = new Starvation(() => 0);
  await new Promise(resolve => setTimeout(resolve, 100));
  const before = Number((await import('node:fs')).readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  const at = monotonicMs();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  const tookMs = starvation.since(at);
  const waitedMs = Number((await import('node:fs')).readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6 - before;
  console.log(JSON.stringify(tookMs - waitedMs));
  process.exit(0);
`;

it.runIf(isLinux)('counts a sleep in the middle of a turn only while a helper waits for a CPU', async () => {
  const slept = async (threads: number) => {
    const { output } = run(HELPED(threads));
    await waitFor(() => output().includes('\n'), { what: 'its figure', timeoutMs: 30_000, intervalMs: 5 });
    return Number(output());
  };
  expect(await slept(3)).toBeGreaterThan(100);
  expect(await slept(0)).toBeLessThan(100);
});

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
