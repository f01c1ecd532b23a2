import type { MessagePort } from 'node:worker_threads';
import { CaptureSpool } from '../spool/capture-spool.ts';
import type { ConnectTask } from '../thread/lane-task.ts';
import type { CaptureMessage, CaptureRequest, SpoolFailure } from './capture-messages.ts';
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
  #spool: CaptureSpool | undefined;
  #early: UnnumberedMessage[] = [];
  #earlyBytes = 0;

  /** Also where the replicator was started again: then call `sendAgain` for all that are open. */
  connect({ port, room, spool }: Pick<ConnectTask, 'port' | 'room' | 'spool'>): void {
    this.#port?.close();
    this.#port = port;
    this.#room = new CaptureRoom(room);
    // What the one before has is the next replicator's.
    this.#spool?.close();
    this.#spool = spool === undefined ? undefined : this.#newSpool(spool, port, this.#room);
    port.on('message', ({ kind, done }: CaptureRequest) => {
      if (kind !== 'capture') return;
      this.#spool?.cut(done);
      this.sendDue();
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
    this.#spool?.append(numbered);
    this.#port.postMessage(numbered, message.kind === 'log' ? [message.frames] : []);
  }

  #newSpool(folder: string, port: MessagePort, { boundBytes }: CaptureRoom): CaptureSpool {
    return new CaptureSpool({
      folder,
      maxBytes: boundBytes,
      onFailed: ({ message }) => port.postMessage({ kind: 'spool-failed', message } satisfies SpoolFailure),
    });
  }
}
