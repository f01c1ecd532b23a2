import type { MessagePort } from 'node:worker_threads';
import { type CaptureMessage, CaptureRoom } from '@onewriter/writer';
import type { CaptureConnection } from '../../replica/capture-link.ts';

/** The broker's end of what the process apart captures: as if that process had a port of its own. */
export class CaptureRelay {
  readonly #port: MessagePort;
  readonly #room: CaptureRoom;

  /** @param request has the process send what it has */
  constructor({ port, room }: CaptureConnection, request: () => void) {
    this.#port = port;
    this.#room = new CaptureRoom(room);
    port.on('message', request);
    port.unref();
  }

  pass(message: CaptureMessage): void {
    const order = this.#room.nextOrder();
    if (message.kind !== 'log') this.#port.postMessage({ ...message, order });
    else if (this.#room.take(message.frames.byteLength)) {
      this.#port.postMessage({ ...message, order }, [message.frames]);
    } else {
      const lost = { kind: 'lost', tenant: message.tenant, reason: 'no room', order } as const;
      this.#port.postMessage(lost satisfies CaptureMessage);
    }
  }

  close(): void {
    this.#port.close();
  }
}
