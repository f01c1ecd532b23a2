import { fileURLToPath } from 'node:url';
import { type SpawnedProcess, spawnProcess, waitFor, withoutSettings } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';

/* A process whose event loop hangs ends, and says where it was. */

const MODULE = fileURLToPath(new URL('../../shared/runtime/dist/index.js', import.meta.url));

async function hang(how: string): Promise<SpawnedProcess> {
  const script = `
    import { startProcess } from ${JSON.stringify(MODULE)};
    function hangHere() { ${how} }
    await startProcess('hanging', async () => {
      setInterval(() => {}, 1000);
      process.stdout.write('started');
      setTimeout(hangHere, 200);
    });`;
  const child = await spawnProcess(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...withoutSettings(), ONEWRITER_STALL_MS: '1000' },
  });
  onTestFinished(async () => void (await child.stop()));
  await waitFor(() => child.stdout() === 'started', { what: 'its start' });
  return child;
}

it.each([
  ['spins', 'for (;;);'],
  ['waits', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);'],
])('that %s', async (_, how) => {
  const child = await hang(how);
  expect((await child.exited).signal).toBe('SIGKILL');
  const line = JSON.parse(child.stderr().trim().split('\n').at(-1)!) as { stack: string[] };
  expect(line).toMatchObject({ name: 'hanging', level: 60 });
  expect(line.stack[0]).toContain('hangHere');
});

it('but not one that was stopped for longer', async () => {
  const child = await hang('');
  process.kill(child.pid, 'SIGSTOP');
  await new Promise(resolve => setTimeout(resolve, 2_000));
  process.kill(child.pid, 'SIGCONT');
  // Longer than it takes to notice a loop that hangs.
  const ended = await Promise.race([
    child.exited,
    new Promise(resolve => setTimeout(() => resolve('lives'), 1_500)),
  ]);
  expect(ended).toBe('lives');
});
