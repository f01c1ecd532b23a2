import type { ImportMark, OnewriterError } from '@onewriter/protocol';

/*
 * Imports: many rows in one write, with a mark of how far the import is, so that no row is applied twice and none is left
 * out, however often a piece is sent. The gateway's `POST …/import` is made of them.
 */

/** A row of an import. */
export interface ImportRow {
  /** Its INSERT, or a statement. */
  readonly sql: string;
  /** JSON of its values without their brackets, each as `encodeExactValue` of the protocol writes it. */
  readonly values: string;
}

/** Rows that follow each other in an import, up to LIMITS.maxImportPieceRows. */
export interface ImportPiece {
  /** The import's idempotency key; among those of writes. */
  readonly key: string;
  /** What the import does with its rows (`fingerprintImport`). */
  readonly fingerprint: string;
  /** Number of the first row; or the number of each, where they were refused before and are tried again. */
  readonly at: number | readonly number[];
  /** undefined: a row that cannot be read, and counts as refused. */
  readonly rows: readonly (ImportRow | undefined)[];
  /** {@link RowsHash} of the rows that can be read. */
  readonly hash: string;
  /** Whether the rows are statements of any kind, without values; else each is a plain INSERT. Default: false. */
  readonly statements?: boolean | undefined;
  /** The piece ends when more rows than this are refused, with those that were refused before. */
  readonly maxRefused: number;
}

/** What became of a piece. */
export type ImportPieceResult =
  | {
      readonly type: 'applied';
      readonly applied: number;
      /** How many of the applied rows changed nothing: their INSERT conflicted and was ignored. */
      readonly ignored: number;
      /** Applied before, under keys of their own. */
      readonly known: number;
      /** The number of the row that is next. */
      readonly next: number;
      /** Rows that could be read, and were refused. */
      readonly refused: readonly { readonly row: number; readonly error: OnewriterError }[];
      readonly commitSeq: number;
    }
  /** It does not begin where the import is: nothing was applied. */
  | { readonly type: 'elsewhere'; readonly mark: ImportMark; readonly commitSeq: number };
