import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CaptureMessage, CaptureRequest, SpoolFailure } from '@onewriter/writer';
import { SentMessages } from './sent-messages.ts';

interface CapturePortsOptions {
  /** Calls {@link CapturePorts.inOrder} as soon as it may. */
  readonly onMessage: (message: CaptureMessage) => void;
  readonly onSpoolFailed: (message: string) => void;
  /** Whether a message continues from the ones before. */
  readonly fits: (message: CaptureMessage) => boolean;
  readonly take: (message: CaptureMessage) => void;
}

interface Received {
  readonly message: CaptureMessage | SpoolFailure;
}

/**
 * The ports of the writer threads. A tenant moves between threads, and ports are not read in the order in which they were written:
 * what the former thread sent may still be in its port.
 */
export class CapturePorts {
  readonly #ports = new Map<MessagePort, SentMessages>();
  readonly #options: CapturePortsOptions;

  constructor(options: CapturePortsOptions) {
    this.#options = options;
  }

  add(port: MessagePort): void {
    const sent = new SentMessages();
    this.#ports.set(port, sent);
    port.on('message', (message: CaptureMessage | SpoolFailure) => {
      if (!this.#isOfTenant(message)) return;
      sent.note(message);
      this.#options.onMessage(message);
    });
    port.on('close', () => this.#ports.delete(port));
  }

  /** All threads send what they have. */
  request(): void {
    for (const [port, { done }] of this.#ports) {
      port.postMessage({ kind: 'capture', done } satisfies CaptureRequest);
    }
  }

  /** A piece is stored, or of no use. */
  settle(order: bigint): void {
    for (const sent of this.#ports.values()) if (sent.settle(order)) return;
  }

  /** A piece is neither stored nor of no use. */
  get hasOpen(): boolean {
    return [...this.#ports.values()].some(({ hasOpen }) => hasOpen);
  }

  /** Takes a message, and first what was sent before it, where it does not continue from what is known. */
  inOrder(message: CaptureMessage): void {
    const messages = [message];
    for (const [port, sent] of this.#options.fits(message) ? [] : this.#ports) {
      for (;;) {
        const received = receiveMessageOnPort(port) as Received | undefined;
        if (received === undefined) break;
        if (!this.#isOfTenant(received.message)) continue;
        sent.note(received.message);
        messages.push(received.message);
      }
    }
    for (const each of messages.sort(byOrder)) this.#options.take(each);
  }

  close(): void {
    for (const port of this.#ports.keys()) port.close();
  }

  #isOfTenant(message: CaptureMessage | SpoolFailure): message is CaptureMessage {
    if (message.kind !== 'spool-failed') return true;
    this.#options.onSpoolFailed(message.message);
    return false;
  }
}

function byOrder(one: CaptureMessage, other: CaptureMessage): number {
  return one.order < other.order ? -1 : 1;
}
