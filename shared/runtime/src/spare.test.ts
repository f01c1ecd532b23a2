import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { Successor } from './spare.ts';

it('knows of a successor that is on its way, until it waits', () => {
  const successor = new Successor();
  expect(successor.coming).toBe(false);
  successor.hear({ type: 'successor', waits: false });
  expect(successor.coming).toBe(true);
  successor.hear({ type: 'successor', waits: true });
  expect(successor.coming).toBe(false);
});

it('ends with its parent while it still prepares', async () => {
  const built = new URL('../dist/spare.js', import.meta.url).href;
  const program = `import { endWithParent } from '${built}'; endWithParent(); process.send('begun'); setInterval(() => {}, 1_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'message');
  const exited = once(child, 'exit');
  child.disconnect();
  expect(await exited).toEqual([0, null]);
});
