import { hash } from 'node:crypto';
import type { WireError } from './onewriter-error.ts';
import type { WireValue } from './value.ts';

/*
 * A piece of an import: many rows in one write, and how far the import is (its mark), which moves in the same transaction.
 *
 *   row     0 1 2 3 4 5 6 7 8 9
 *   fate    + + - + + + |          + applied, - refused; the mark is 6
 *                       └ the next piece begins here, or is not applied at all
 *
 * So a piece is applied once, however often, from wherever and in which order it is sent, and a mark is a few bytes for any number of
 * rows. Rows that were refused are listed in it: they can be tried again later, the others never.
 */

/** The write that is a piece of an import. */
export interface WireRowsOperation {
  /** The rows, in order; empty: only the mark is wanted. */
  readonly w: readonly WireRow[];
  readonly m: WireImport;
}

/**
 * A row: index of its INSERT, or of any statement where the import says so in the job's `sql`, then its values, exact (`encodeExactValue`). 0: a row that cannot be read. It
 * counts as refused.
 */
export type WireRow = readonly [sql: number, ...values: WireValue[]] | 0;

/** Which import rows are of, and which of its rows they are. */
export interface WireImport {
  /** The import's idempotency key. */
  readonly k: string;
  /** What it does with its rows: {@link fingerprintImport}. The same key with another is refused. */
  readonly f: string;
  /** Number of the first row, which is the mark; -1: only the mark is wanted. Or the numbers of rows that were refused. */
  readonly at: number | readonly number[];
  /** Hash of all rows except those that are 0: {@link RowsHash}. */
  readonly h: string;
  /** Refused rows at which the piece ends. */
  readonly max: number;
  /** Set: the rows are statements of a dump, without values. */
  readonly s?: 1 | undefined;
  /** Set: all or nothing, the first refused row is the error of the write. */
  readonly a?: 1 | undefined;
}

/** How far an import is, as it is stored and answered. */
export interface ImportMark {
  /** Rows that are behind it. */
  readonly n: number;
  /** Hash of the rows that were applied. */
  readonly h: string;
  /** The others. */
  readonly r: readonly number[];
}

/** Result of a {@link WireRowsOperation}. */
export type WireRowsResult =
  | {
      /** Rows applied. */
      readonly w: number;
      /** Rows that an older version applied, under keys of their own. */
      readonly s?: number | undefined;
      /** How many of `w` changed no row: an INSERT ignored because it conflicts. */
      readonly i?: number | undefined;
      /** The mark now. */
      readonly n: number;
      /** Rows that were refused, but for those that were 0. */
      readonly r?: readonly (readonly [row: number, error: WireError])[] | undefined;
    }
  /** It begins elsewhere than the mark: nothing was applied. */
  | { readonly m: ImportMark };

/** An import that has not begun. */
export const NO_MARK: ImportMark = Object.freeze({ n: 0, h: '0'.repeat(32), r: [] });

/** What an import does with its rows, in short. */
export function fingerprintImport(table: string | undefined, onConflict: string, whole: boolean): string {
  return hash('sha256', JSON.stringify(['import', table ?? null, onConflict, whole]));
}

/**
 * Stands for a set of rows with their numbers, in 128 bits. The order in which they come does not matter, and a row can be
 * taken out again: it is the XOR of the rows' own hashes. It detects a file that differs from the one before; it does
 * not protect against a sender who forges two files with the same hash.
 */
export class RowsHash {
  readonly #words: Uint32Array;

  /** @param text what toString() returned */
  constructor(text: string = NO_MARK.h) {
    this.#words = Uint32Array.from({ length: 4 }, (_, word) =>
      Number.parseInt(text.slice(word * 8, word * 8 + 8), 16),
    );
  }

  /** Adds a row, or takes it out. */
  toggle(row: RowHash): void {
    for (let word = 0; word < 4; word++) this.#words[word]! ^= row.readInt32BE(word * 4);
  }

  /** Adds a set of rows, or takes it out. */
  toggleAll(other: RowsHash): void {
    for (let word = 0; word < 4; word++) this.#words[word]! ^= other.#words[word]!;
  }

  toString(): string {
    return [...this.#words].map(word => word.toString(16).padStart(8, '0')).join('');
  }
}

export type RowHash = Buffer;

/**
 * @param number its place in the import, from 0
 * @param sql its INSERT
 * @param values JSON of its values: without their brackets
 */
export function hashRow(number: number, sql: string, values: string): RowHash {
  return hash('sha256', `${number} ${sql}\n${values}`, 'buffer');
}
