import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CaptureRequest } from '@onewriter/writer';
import type { Captured } from './captured.ts';

/**
 * The ports of the writer threads. A tenant moves between threads, and ports are not read in the order in which they were written:
 * what the former thread sent may still be in its port.
 */
export class CapturePorts {
  readonly #ports = new Set<MessagePort>();
  readonly #onMessage: (message: Captured) => void;
  readonly #fits: (message: Captured) => boolean;
  readonly #take: (message: Captured) => void;

  /**
   * @param onMessage calls {@link inOrder} as soon as it may
   * @param fits whether a message goes on from the ones before
   */
  constructor(
    onMessage: (message: Captured) => void,
    fits: (message: Captured) => boolean,
    take: (message: Captured) => void,
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

  /** Takes a message, and first what was sent before it, where it does not go on from what is known. */
  inOrder(message: Captured): void {
    const messages = [message];
    for (const port of this.#fits(message) ? [] : this.#ports) {
      for (;;) {
        const received = receiveMessageOnPort(port) as { readonly message: Captured } | undefined;
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

function byOrder(one: Captured, other: Captured): number {
  return one.order < other.order ? -1 : 1;
}
