import {
  fromWireError,
  LIMITS,
  OnewriterError,
  type WireOperationResult,
  type WireRowsResult,
} from '@onewriter/protocol';
import type { EncodedWrite } from './encoded-write.ts';
import type { ImportPiece, ImportPieceResult } from './import-types.ts';

/** JSON of a WireRowsOperation, but for the indexes of the SQL texts. */
export interface EncodedRows {
  readonly sql: readonly string[];
  readonly bytes: number;
  /** @param indexes of {@link sql} in the job */
  format(indexes: readonly number[]): string;
}

/** Encodes a piece as a write. @throws OnewriterError INVALID_ARGUMENT, STATEMENT_TOO_LARGE */
export function encodeImportPiece(piece: ImportPiece): EncodedWrite {
  const { sql, bytes, format } = encodeRows(piece, false);
  if (bytes > LIMITS.maxOperationBytes) {
    throw new OnewriterError(
      'STATEMENT_TOO_LARGE',
      `The rows are over ${LIMITS.maxOperationBytes} bytes, encoded; send fewer at once.`,
    );
  }
  const sqlBytes = sql.reduce((sum, text) => sum + text.length, 0);
  return { sql, format, operationBytes: bytes, sqlBytes };
}

/** Encodes a piece. @param whole all or nothing. @throws OnewriterError INVALID_ARGUMENT */
export function encodeRows(piece: ImportPiece, whole: boolean): EncodedRows {
  const { key, fingerprint, at, rows, hash, maxRefused, statements } = piece;
  if (key === '' || key.length > LIMITS.maxIdempotencyKeyLength || !key.isWellFormed()) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `An import's key is a string of 1 to ${LIMITS.maxIdempotencyKeyLength} characters.`,
    );
  }
  const sql: string[] = [];
  const indexes = new Map<string, number>();
  const encoded = rows.map(row => {
    if (row === undefined) return undefined;
    let index = indexes.get(row.sql);
    if (index === undefined) {
      index = sql.push(row.sql) - 1;
      indexes.set(row.sql, index);
    }
    return { index, values: row.values === '' ? '' : `,${row.values}` };
  });
  const kind = { ...(statements ? { s: 1 } : {}), ...(whole ? { a: 1 } : {}) };
  const mark = { k: key, f: fingerprint, at, h: hash, max: maxRefused, ...kind };
  const tail = `],"m":${JSON.stringify(mark)}}`;
  const bytes = encoded.reduce(
    (sum, row) => sum + (row === undefined ? 2 : Buffer.byteLength(row.values) + 8),
    tail.length + 16,
  );
  const format = (moved: readonly number[]) =>
    `{"w":[${encoded.map(row => (row === undefined ? '0' : `[${moved[row.index]}${row.values}]`)).join()}${tail}`;
  return { sql, bytes, format };
}

/** Decodes the result of a piece. @throws its error */
export function decodeImportPiece(result: WireOperationResult, commitSeq: number): ImportPieceResult {
  if ('e' in result) throw fromWireError(result.e);
  const rows = result as WireRowsResult;
  if ('m' in rows) return { type: 'elsewhere', mark: rows.m, commitSeq };
  return {
    type: 'applied',
    applied: rows.w,
    ignored: rows.i ?? 0,
    known: rows.s ?? 0,
    next: rows.n,
    refused: (rows.r ?? []).map(([row, error]) => ({ row, error: fromWireError(error) })),
    commitSeq,
  };
}
