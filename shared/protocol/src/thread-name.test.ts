import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

it.runIf(process.platform === 'linux')('gives one thread a name that its process shows', async () => {
  const url = new URL('../dist/index.js', import.meta.url);
  const program = `
    import(${JSON.stringify(url.href)}).then(({ nameThread }) => {
      nameThread('a-name-that-is-too-long');
      require('node:worker_threads').parentPort.postMessage('named');
    });
    setInterval(() => {}, 1_000);
  `;
  const worker = new Worker(program, { eval: true });
  await new Promise(resolve => worker.once('message', resolve));
  const names = readdirSync('/proc/self/task').map(id =>
    readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim(),
  );
  await worker.terminate();
  expect(names.filter(name => name === 'a-name-that-is-')).toHaveLength(1);
});
