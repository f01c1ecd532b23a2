import { writeSync } from 'node:fs';
import { type Debugger, Session } from 'node:inspector';
import { workerData } from 'node:worker_threads';

/* Counts beats of the main thread, see watch-loop.ts. */

/** What the thread is started with. */
export interface LoopWatchTask {
  readonly name: string;
  /** Rises as long as the main thread's event loop turns. */
  readonly beats: Int32Array;
  readonly stallMs: number;
}

const LOOKS = 20;
const DUMP_MS = 1_000;
const STANDARD_ERROR = 2;

const { name, beats, stallMs } = workerData as LoopWatchTask;
const lookMs = Math.ceil(stallMs / LOOKS);
const never = new Int32Array(new SharedArrayBuffer(4));

// Looks of this thread are counted, not time: while the whole process is stopped neither of them runs.
let seen = Atomics.load(beats, 0);
let missed = 0;
const timer = setInterval(() => {
  const now = Atomics.load(beats, 0);
  missed = now === seen ? missed + 1 : 0;
  seen = now;
  if (missed < LOOKS) return;
  clearInterval(timer);
  end();
}, lookMs);

function end(): void {
  const session = new Session();
  const finish = (frames: string[]) => {
    const message = `The event loop did not turn for ${stallMs} ms: the process ends, to be started again`;
    const line = { level: 60, time: Date.now(), name, pid: process.pid, stack: frames, msg: message };
    writeSync(STANDARD_ERROR, `${JSON.stringify(line)}\n`);
    process.kill(process.pid, 'SIGKILL');
    // Nothing of this process may run any more.
    Atomics.wait(never, 0, 0);
  };
  setTimeout(() => finish(['(inside native code)']), DUMP_MS);
  session.connectToMainThread();
  const urls = new Map<string, string>();
  session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url));
  session.on('Debugger.paused', ({ params }) =>
    finish(params.callFrames.map(frame => describeFrame(frame, urls))),
  );
  session.post('Debugger.enable');
  session.post('Debugger.pause');
}

function describeFrame({ functionName, location }: Debugger.CallFrame, urls: ReadonlyMap<string, string>) {
  return `${functionName || '(anonymous)'} ${urls.get(location.scriptId) ?? ''}:${location.lineNumber + 1}`;
}
