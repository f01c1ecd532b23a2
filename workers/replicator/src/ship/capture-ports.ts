import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CaptureMessage, CaptureRequest } from '@onewriter/writer';

/**
 * The ports of the writer threads. A tenant moves between threads, and ports are not read in the order in which they were written:
 * what the former thread sent may still be in its port.
 */
export class CapturePorts {
  readonly #ports = new Set<MessagePort>();
  readonly #onMessage: (message: CaptureMessage) => void;
  readonly #fits: (message: CaptureMessage) => boolean;
  readonly #take: (message: CaptureMessage) => void;

  /**
   * @param onMessage calls {@link inOrder} as soon as it may
   * @param fits whether a message continues from the ones before
   */
  constructor(
    onMessage: (message: CaptureMessage) => void,
    fits: (message: CaptureMessage) => boolean,
    take: (message: CaptureMessage) => void,
  ) {
    this.#onMessage = onMessage;
    this.#fits = fits;
    this.#take = take;
  }

  add(port: MessagePort): void {
    this.#ports.add(port);
    port.on('message', this.#onMessage);
    port.on('close', () => this.#ports.delete(port));
  }

  /** All threads send what they have. */
  request(): void {
    for (const port of this.#ports) port.postMessage({ kind: 'capture' } satisfies CaptureRequest);
  }

  /** Takes a message, and first what was sent before it, where it does not continue from what is known. */
  inOrder(message: CaptureMessage): void {
    const messages = [message];
    for (const port of this.#fits(message) ? [] : this.#ports) {
      for (;;) {
        const received = receiveMessageOnPort(port) as { readonly message: CaptureMessage } | undefined;
        if (received === undefined) break;
        messages.push(received.message);
      }
    }
    for (const each of messages.sort(byOrder)) this.#take(each);
  }

  close(): void {
    for (const port of this.#ports) port.close();
  }
}

function byOrder(one: CaptureMessage, other: CaptureMessage): number {
  return one.order < other.order ? -1 : 1;
}
