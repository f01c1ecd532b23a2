import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type CaptureMessage, type CaptureRequest, CaptureRoom } from '@onewriter/writer';
import type { CaptureConnection } from '../../replica/capture-link.ts';

/** What may be on its way from the process apart to the broker. */
const BOUND_BYTES = 64 * 1024 * 1024;

/** Takes what the thread of the process apart captures, for its parent. */
export class ApartCapture {
  readonly #room = CaptureRoom.create(BOUND_BYTES);
  #port: MessagePort | undefined;
  readonly #send: (message: CaptureMessage, sent: () => void) => void;

  /** @param send to the parent; calls back when it is sent */
  constructor(send: (message: CaptureMessage, sent: () => void) => void) {
    this.#send = send;
  }

  /** A connection for the thread, or for the one that has taken its place. */
  open(): CaptureConnection {
    this.drain();
    this.#port?.close();
    const { port1, port2 } = new MessageChannel();
    this.#port = port2;
    port2.on('message', (message: CaptureMessage) => this.#pass(message));
    port2.unref();
    return { port: port1, room: this.#room.buffer };
  }

  request(): void {
    // It keeps no spool.
    this.#port?.postMessage({ kind: 'capture', done: 0n } satisfies CaptureRequest);
  }

  /** Sends what the thread has sent so far: before the outcome of its task, which lets others open the file. */
  drain(): void {
    while (this.#port !== undefined) {
      const received = receiveMessageOnPort(this.#port) as { readonly message: CaptureMessage } | undefined;
      if (received === undefined) return;
      this.#pass(received.message);
    }
  }

  #pass(message: CaptureMessage): void {
    const bytes = message.kind === 'log' ? message.frames.byteLength : 0;
    this.#send(message, () => this.#room.giveBack(bytes));
  }
}
