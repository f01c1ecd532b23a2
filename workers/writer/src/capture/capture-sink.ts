import type { MessagePort } from 'node:worker_threads';
import type { ConnectTask } from '../thread/lane-task.ts';
import type { CaptureMessage, CaptureRequest } from './capture-messages.ts';
import { CaptureRoom } from './capture-room.ts';

/** A tenant with commits that were not sent. */
export interface DueCapture {
  send(): unknown;
}

/** What a tenant's capture sends; the sink numbers it. */
export type UnnumberedMessage = CaptureMessage extends infer Message
  ? Message extends CaptureMessage
    ? Omit<Message, 'order'>
    : never
  : never;

/** What waits at most until the thread is connected: a moment after its start. */
const MAX_EARLY_BYTES = 16 * 1024 * 1024;

/** Where all tenants of one thread send their pieces. */
export class CaptureSink {
  /** Tenants with commits that were not sent. */
  readonly #due = new Set<DueCapture>();
  #port: MessagePort | undefined;
  #room: CaptureRoom | undefined;
  #early: UnnumberedMessage[] = [];
  #earlyBytes = 0;

  /** Also where the replicator was started again: then call `sendAgain` for all that are open. */
  connect({ port, room }: Pick<ConnectTask, 'port' | 'room'>): void {
    this.#port?.close();
    this.#port = port;
    this.#room = new CaptureRoom(room);
    port.on('message', ({ kind }: CaptureRequest) => {
      if (kind === 'capture') this.sendDue();
    });
    // It must not keep the thread from ending.
    port.unref();
    for (const message of this.#early.splice(0)) {
      // The others may have filled the room meanwhile.
      if (message.kind === 'log' && !this.#room.take(message.frames.byteLength)) {
        this.post({ kind: 'lost', tenant: message.tenant, reason: 'no room' });
      } else this.post(message);
    }
    this.#earlyBytes = 0;
  }

  get isConnected(): boolean {
    return this.#port !== undefined;
  }

  /** Bytes of the largest piece. */
  get maxPieceBytes(): number {
    return this.#room?.maxPieceBytes ?? MAX_EARLY_BYTES;
  }

  noteDue(capture: DueCapture): void {
    this.#due.add(capture);
  }

  forgetDue(capture: DueCapture): void {
    this.#due.delete(capture);
  }

  /** Sends what all tenants have; what finds no room stays in their logs until the next call. */
  sendDue(): void {
    for (const capture of [...this.#due]) capture.send();
  }

  /** @returns whether there is room for a piece; it is taken then */
  take(bytes: number): boolean {
    if (this.#room !== undefined) return this.#room.take(bytes);
    if (this.#earlyBytes + bytes > MAX_EARLY_BYTES) return false;
    this.#earlyBytes += bytes;
    return true;
  }

  /** A number for a message; undefined before the thread is connected. */
  nextOrder(): bigint | undefined {
    return this.#room?.nextOrder();
  }

  /** @param message for whose frames {@link take} was called */
  post(message: UnnumberedMessage, order = this.nextOrder()): void {
    if (this.#port === undefined || order === undefined) {
      this.#early.push(message);
      return;
    }
    const numbered = { ...message, order } as CaptureMessage;
    this.#port.postMessage(numbered, message.kind === 'log' ? [message.frames] : []);
  }
}
