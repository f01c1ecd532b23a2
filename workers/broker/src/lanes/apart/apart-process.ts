import { writeFileSync } from 'node:fs';
import { assertSqliteWorks } from '@onewriter/writer';
import { LaneThread } from '../lane-thread.ts';
import { readStatementBytes } from '../memory-watch.ts';
import { ApartCapture } from './apart-capture.ts';
import type { ApartSettings, FromApartProcess, ToApartProcess } from './apart-messages.ts';

/*
 * The process of jobs that may end their process. One thread runs them, because SQLite's work blocks it; the main thread says where it
 * is and how much memory the process has. Its parent ends it.
 */

const REPORT_EVERY_MS = 20;

// Without its parent it must not keep a file locked with a statement that has no end. exit() would wait for the thread.
const end = () => process.kill(process.pid, 'SIGKILL');
process.on('disconnect', end);
// It ended while this module was loaded.
if (!process.connected) end();
// An interrupt from a terminal reaches all processes: the parent drains first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

preferAsVictim();
assertSqliteWorks();
const thread = new LaneThread();
const settings = JSON.parse(process.argv[2]!) as ApartSettings;
thread.configure(settings);
const capture = settings.replicated ? connectThread() : undefined;
// What the thread takes for its own start is not to count for the first job.
await thread.run({ kind: 'rollback', tenant: '', transaction: '' });
let underWay = 0;

process.on('message', (message: ToApartProcess) => {
  if ('capture' in message) {
    capture?.request();
    return;
  }
  const { id, task } = message;
  underWay++;
  thread
    .run(task)
    .finally(() => capture?.drain())
    .then(
      outcome => send({ type: 'outcome', id, outcome, bytes: readStatementBytes() }),
      (error: Error) => send({ type: 'fault', id, message: error.message, bytes: readStatementBytes() }),
    )
    .finally(() => {
      underWay--;
    });
});
// Where it ended without a task the pool replaces it.
thread.onIdleEnd(error => process.stderr.write(`${error.message}\n`));

setInterval(() => {
  if (underWay > 0) send({ type: 'position', cells: [...thread.progress], bytes: readStatementBytes() });
}, REPORT_EVERY_MS);
send({ type: 'ready', bytes: readStatementBytes() });

function connectThread(): ApartCapture {
  const captured = new ApartCapture((message, sent) => send({ type: 'captured', message }, sent));
  thread.connect(captured.open());
  thread.onStart(() => thread.connect(captured.open()));
  return captured;
}

/** Where memory runs out all the same, the kernel is to end this process and no other. */
function preferAsVictim(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // No Linux, or a sandbox: the kernel chooses.
  }
}

function send(message: FromApartProcess, sent = () => {}): void {
  // Where the channel is closed, 'disconnect' ends it.
  process.send?.(message, undefined, undefined, sent);
}
