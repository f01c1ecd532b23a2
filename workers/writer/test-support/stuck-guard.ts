import { Worker } from 'node:worker_threads';

/*
 * A statement of SQLite that never ends also stops the timeouts of the test that runs it: a broken rule would hang the run. So a
 * thread ends the process in which nothing else has happened for long.
 */

const LIMIT_MS = 60_000;
const BEAT_MS = 1_000;

const WATCH = `
  const { workerData } = require('node:worker_threads');
  const { beats, limitMs } = workerData;
  for (;;) {
    if (Atomics.wait(beats, 0, Atomics.load(beats, 0), limitMs) !== 'timed-out') continue;
    require('node:fs').writeSync(2, 'A test has held its thread for ' + limitMs + ' ms; ending its process.\\n');
    process.kill(process.pid, 'SIGKILL');
  }
`;

/** Watches this thread from now on. */
export function guardAgainstStuckStatements(limitMs = LIMIT_MS): void {
  const beats = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  new Worker(WATCH, { eval: true, workerData: { beats, limitMs } }).unref();
  setInterval(() => {
    Atomics.add(beats, 0, 1);
    Atomics.notify(beats, 0);
  }, BEAT_MS).unref();
}
