import { hashRow, LIMITS, type OnewriterError, type RowHash } from '@onewriter/protocol';
import type { ImportRow as SentRow } from '@onewriter/sdk';
import type { StreamRoom } from '../streams/stream-room.ts';
import type { ParsedRow } from './parse-rows.ts';

/** A row that is read and not settled. */
export interface HeldRow {
  readonly number: number;
  readonly line: number;
  readonly bytes: number;
  /** undefined: it cannot be sent; then there is an error. */
  row: SentRow | undefined;
  readonly hash: RowHash | undefined;
  error: OnewriterError | undefined;
}

const MAX_PIECE_BYTES = 512 * 1024;
const MAX_PIECES_UNDER_WAY = 4;
/** Rows under way in pieces that are small because of their rows. */
const MAX_SMALL_PIECE_ROWS = 2 * LIMITS.maxImportPieceRows;

/** @param number of the row, from 0 */
export function toHeldRow(number: number, parsed: ParsedRow): HeldRow {
  const { line, bytes } = parsed;
  if ('error' in parsed) return { number, line, bytes, row: undefined, hash: undefined, error: parsed.error };
  const { row } = parsed;
  return { number, line, bytes, row, hash: hashRow(number, row.sql, row.values), error: undefined };
}

/** The rows of an import that are read and not settled, in order, those on their way first; and how they make pieces. */
export class HeldRows {
  readonly #room: StreamRoom;
  readonly #maxPieceRows: number;
  #rows: HeldRow[] = [];
  #bytes = 0;
  #sent = 0;
  /** Up to this row pieces are smaller. */
  #smallPieces: { readonly to: number; readonly rows: number } = { to: 0, rows: 1 };

  /** @param room bounds the rows. @param maxPieceRows see RowImportOptions */
  constructor(room: StreamRoom, maxPieceRows: number) {
    this.#room = room;
    this.#maxPieceRows = maxPieceRows;
  }

  get size(): number {
    return this.#rows.length;
  }

  /** Rows that are not on their way. */
  get waiting(): number {
    return this.#rows.length - this.#sent;
  }

  get first(): HeldRow | undefined {
    return this.#rows[0];
  }

  /** Whether there are rows for a piece of the usual size. */
  get hasFullPiece(): boolean {
    return this.waiting >= this.#pieceRows;
  }

  /** Whether it is time to send, also where the last pieces are still on their way. */
  get isFull(): boolean {
    return this.hasFullPiece || this.#bytes >= MAX_PIECE_BYTES;
  }

  /** Pieces that may be on their way: where they are small, more. */
  get maxUnderWay(): number {
    return Math.max(MAX_PIECES_UNDER_WAY, Math.ceil(MAX_SMALL_PIECE_ROWS / this.#pieceRows));
  }

  /** @returns whether there was room for it */
  tryAdd(held: HeldRow): boolean {
    if (!this.#room.tryTake(held.bytes)) return false;
    this.#rows.push(held);
    this.#bytes += held.bytes;
    return true;
  }

  /** The next rows that are not on their way; now they are. */
  takePiece(): HeldRow[] {
    const rows: HeldRow[] = [];
    let bytes = 0;
    const max = this.#pieceRows;
    for (let index = this.#sent; index < this.#rows.length && rows.length < max; index++) {
      const held = this.#rows[index]!;
      bytes += held.bytes;
      if (rows.length > 0 && bytes > MAX_PIECE_BYTES) break;
      rows.push(held);
    }
    this.#sent += rows.length;
    return rows;
  }

  /** No row is on its way any more. */
  takeBack(): void {
    this.#sent = 0;
  }

  /** Rows of a piece go in pieces of so many from now on. */
  split(piece: readonly HeldRow[], rows: number): void {
    this.#smallPieces = { to: piece[0]!.number + piece.length, rows };
  }

  /** Removes the rows up to a number. */
  settle(next: number): HeldRow[] {
    const end = this.#rows.findIndex(({ number }) => number >= next);
    const settled = this.#rows.splice(0, end < 0 ? this.#rows.length : end);
    for (const { bytes } of settled) {
      this.#bytes -= bytes;
      this.#room.give(1, bytes);
    }
    this.#sent = Math.max(0, this.#sent - settled.length);
    return settled;
  }

  get #pieceRows(): number {
    const next = this.#rows[this.#sent]?.number ?? 0;
    return next < this.#smallPieces.to
      ? Math.min(this.#maxPieceRows, this.#smallPieces.rows)
      : this.#maxPieceRows;
  }
}
