import { randomInt } from 'node:crypto';

/** Cells of the shared memory, BigInt64. */
const USED = 0;
const BOUND = 1;
const ORDER = 2;
const ID = 3;
const CELLS = 4;
/** Bits of an id that are random; those before are the time. */
const RANDOM_BITS = 16;
/** Part of the bound that one tenant's piece may take: so one tenant cannot take the room of all. */
const LARGEST_PIECE = 4;

/**
 * What the writer threads and the replicator count together: bytes of frames that were sent and are not stored yet, and the order of
 * messages. The sender takes the bytes of a piece, the replicator gives them back when the piece is stored or dropped.
 */
export class CaptureRoom {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: BigInt64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#cells = new BigInt64Array(buffer);
  }

  /** @param boundBytes of all pieces together */
  static create(boundBytes: number): CaptureRoom {
    const buffer = new SharedArrayBuffer(CELLS * BigInt64Array.BYTES_PER_ELEMENT);
    const cells = new BigInt64Array(buffer);
    cells[BOUND] = BigInt(boundBytes);
    cells[ID] = (BigInt(Date.now()) << BigInt(RANDOM_BITS)) | BigInt(randomInt(2 ** RANDOM_BITS));
    return new CaptureRoom(buffer);
  }

  /** 16 hex digits, unique for each room, in the order of their making. */
  get id(): string {
    return this.#cells[ID]!.toString(16).padStart(16, '0');
  }

  get usedBytes(): number {
    return Number(Atomics.load(this.#cells, USED));
  }

  get boundBytes(): number {
    return Number(this.#cells[BOUND]);
  }

  /** A larger piece is never sent. */
  get maxPieceBytes(): number {
    return Math.floor(this.boundBytes / LARGEST_PIECE);
  }

  /** @returns false where it does not fit: then nothing is taken */
  take(bytes: number): boolean {
    const before = Atomics.add(this.#cells, USED, BigInt(bytes));
    if (before + BigInt(bytes) <= this.#cells[BOUND]!) return true;
    this.giveBack(bytes);
    return false;
  }

  giveBack(bytes: number): void {
    Atomics.sub(this.#cells, USED, BigInt(bytes));
  }

  /** The number of the next message, from 1. */
  nextOrder(): bigint {
    return Atomics.add(this.#cells, ORDER, 1n) + 1n;
  }
}
