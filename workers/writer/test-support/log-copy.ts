import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type {
  CapturedCommit,
  CapturedLog,
  CaptureMessage,
  FileMark,
  LogPosition,
} from '../src/capture/capture-messages.ts';
import { CaptureRoom } from '../src/capture/capture-room.ts';
import type { TemporaryLane } from './temporary-lane.ts';

const FRAME_HEADER_BYTES = 24;
const NOWHERE: LogPosition = { salts: '', frame: 0, checksum: '' };

/** What a replicator would have of one tenant: pages by the pieces of its log, in order. Says where a piece does not fit. */
export class LogCopy {
  readonly tenant: string;
  /** Each commit that was taken. */
  readonly commits: CapturedCommit[] = [];
  /** Why the chain broke. */
  readonly gaps: string[] = [];
  readonly pieces: CapturedLog[] = [];
  /** Frames that came and were known. */
  knownFrames = 0;
  #pages: Buffer[];
  #known: LogPosition | undefined;
  #order = 0n;
  #closed: { readonly to: LogPosition; readonly mark: FileMark } | undefined;

  /** @param image the file, complete, at `known`; default: it does not exist yet */
  constructor(tenant = 'acme', image: Buffer = Buffer.alloc(0), known?: LogPosition) {
    this.tenant = tenant;
    this.#known = known;
    this.#pages = [];
    for (let at = 0; at < image.length; at += 4096) this.#pages.push(image.subarray(at, at + 4096));
  }

  /** The file as the pieces make it. */
  get image(): Buffer {
    return Buffer.concat(this.#pages);
  }

  get known(): LogPosition | undefined {
    return this.#known;
  }

  /** Another process sends from now on: its messages have numbers of their own. */
  restart(): void {
    this.#order = 0n;
  }

  take(message: CaptureMessage): void {
    if (message.tenant !== this.tenant) return;
    if (message.order < this.#order) return;
    this.#order = message.order;
    switch (message.kind) {
      case 'lost':
        this.gaps.push(message.reason);
        break;
      case 'closed':
        this.#closed = message;
        break;
      case 'log':
        this.#takeLog(message);
    }
  }

  #takeLog(piece: CapturedLog): void {
    this.pieces.push(piece);
    const { from, to, commits, frames, pageSize } = piece;
    const skip = this.#skip(piece);
    this.#closed = undefined;
    if (skip === undefined) {
      this.gaps.push('does not fit');
      return;
    }
    this.knownFrames += skip;
    const frameBytes = FRAME_HEADER_BYTES + pageSize;
    if (frames.byteLength !== (to.frame - from.frame) * frameBytes) throw new Error('wrong length');
    for (const commit of commits) {
      if (commit.frames <= skip) continue;
      this.commits.push(commit);
      const begin = Math.max(skip, commits[commits.indexOf(commit) - 1]?.frames ?? 0);
      for (let frame = begin; frame < commit.frames; frame++) {
        const bytes = Buffer.from(frames, frame * frameBytes, frameBytes);
        this.#pages[bytes.readUInt32BE(0) - 1] = Buffer.from(bytes.subarray(FRAME_HEADER_BYTES));
      }
      this.#pages.length = commit.pages;
    }
    this.#known = to;
  }

  /** Frames of the piece that are known; undefined where it does not continue. */
  #skip({ before, from, to, mark, frames, pageSize }: CapturedLog): number | undefined {
    const known = this.#known;
    if (known === undefined) return before.frame === 0 || from.frame === 0 ? 0 : undefined;
    if (known.salts === from.salts && known.frame >= from.frame && known.frame <= to.frame) {
      const skip = known.frame - from.frame;
      if (skip === 0) return known.checksum === from.checksum ? 0 : undefined;
      const last = Buffer.from(frames, (skip - 1) * (FRAME_HEADER_BYTES + pageSize), FRAME_HEADER_BYTES);
      return last.toString('hex', 16, 24) === known.checksum ? skip : undefined;
    }
    if (from.frame !== 0) return undefined;
    if (before.salts !== '' && isSame(before, known)) return 0;
    const closed = this.#closed;
    const isUntouched =
      mark !== undefined &&
      closed !== undefined &&
      isSame(closed.to, known) &&
      JSON.stringify(closed.mark) === JSON.stringify(mark);
    return isUntouched ? 0 : undefined;
  }
}

function isSame(one: LogPosition, other: LogPosition): boolean {
  return JSON.stringify(one) === JSON.stringify({ ...NOWHERE, ...other });
}

/** The replicator's end of a lane's connection. */
export class CaptureListener {
  readonly room: CaptureRoom;
  readonly #port: MessagePort;
  readonly #far: MessagePort;
  readonly #copies: readonly LogCopy[];

  constructor(copies: readonly LogCopy[], room = CaptureRoom.create(64 * 1024 * 1024)) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#far = port2;
    this.#copies = copies;
    this.room = room;
  }

  connect({ lane }: TemporaryLane): this {
    lane.run({ kind: 'connect', port: this.#far, room: this.room.buffer }, () => {});
    return this;
  }

  /** Has the lane send what it has. */
  ask(): void {
    this.request();
    this.drain();
  }

  /** The same without taking it. */
  request(done = 0n): void {
    this.#far.emit('message', { kind: 'capture', done });
  }

  /** Takes what was sent. */
  drain(): void {
    CaptureListener.drainAll([this]);
  }

  /** The same from several threads, in the order in which it was sent. */
  static drainAll(listeners: readonly CaptureListener[]): void {
    const messages = listeners.flatMap(listener =>
      listener.receive().map(message => ({ message, copies: listener.#copies })),
    );
    messages.sort((a, b) => Number(a.message.order - b.message.order));
    for (const { message, copies } of messages) for (const copy of copies) copy.take(message);
  }

  receive(): CaptureMessage[] {
    const messages: CaptureMessage[] = [];
    for (;;) {
      const received = receiveMessageOnPort(this.#port) as { message: CaptureMessage } | undefined;
      if (received === undefined) return messages;
      if (received.message.kind === 'log') this.room.giveBack(received.message.frames.byteLength);
      messages.push(received.message);
    }
  }

  close(): void {
    this.#port.close();
  }
}
