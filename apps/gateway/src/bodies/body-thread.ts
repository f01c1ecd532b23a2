import { parentPort } from 'node:worker_threads';
import { toWireError } from '@onewriter/protocol';
import { setThreadPriority } from '@onewriter/runtime';
import { asOnewriterError } from '../http/error-response.ts';
import type { BodyTask, ReadBody, ThreadMessage } from './body-messages.ts';
import { readOtherBody } from './other-bodies.ts';
import { readStatementBody, sealStatementBody } from './statement-body.ts';
import { currentThreadId } from './thread-cpu.ts';

/* A thread that reads large bodies, one at a time; body-reader.ts has the rest. It can be ended at any moment. */

const id = currentThreadId();
if (id !== undefined) setThreadPriority(id, 'low');
send({ type: 'ready', id });
parentPort!.on('message', (task: BodyTask) => {
  try {
    const { body, transfer } = read(task);
    send({ type: 'answer', answer: { body } }, transfer);
  } catch (error) {
    send({ type: 'answer', answer: { error: toWireError(asOnewriterError(error)) } });
  }
});

function send(message: ThreadMessage, transfer: readonly ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

function read(task: BodyTask): { readonly body: ReadBody; readonly transfer?: readonly ArrayBuffer[] } {
  switch (task.type) {
    case 'statements': {
      const { name, bytes, flags, tenant } = task;
      const body = sealStatementBody(name, readStatementBody(name, bytes), flags, tenant);
      return body.sealed === undefined ? { body } : { body, transfer: [body.sealed.tail.buffer] };
    }
    case 'other':
      return { body: readOtherBody(task.name, task.bytes) };
    default:
      return task satisfies never;
  }
}
