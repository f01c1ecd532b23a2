import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { toWireError } from '@onewriter/protocol';
import { asOnewriterError } from '../http/error-response.ts';
import type { BodyAnswer, BodyTask } from './body-messages.ts';
import { readStatementBody, sealStatementBody } from './statement-body.ts';

/* A thread that reads large bodies, one at a time; body-reader.ts has the rest. It can be ended at any moment. */

/** As the processes that read: what one tenant keeps busy has a lower priority than what serves all. */
const NICENESS = 5;

lowerPriority();
parentPort!.on('message', (task: BodyTask) => {
  const answer = read(task);
  const sent = 'body' in answer ? answer.body.sealed?.tail.buffer : undefined;
  parentPort!.postMessage(answer, sent === undefined ? [] : [sent]);
});

function read({ name, bytes, flags }: BodyTask): BodyAnswer {
  try {
    return { body: sealStatementBody(name, readStatementBody(name, bytes), flags) };
  } catch (error) {
    return { error: toWireError(asOnewriterError(error)) };
  }
}

/** Linux has a priority for each thread. */
function lowerPriority(): void {
  try {
    const [, id] = /\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self')) ?? [];
    if (id !== undefined) setPriority(Number(id), NICENESS);
  } catch {
    // Another system, or a sandbox that does not allow it: it runs with the usual priority.
  }
}
