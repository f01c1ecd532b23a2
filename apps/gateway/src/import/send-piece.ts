import { RowsHash } from '@onewriter/protocol';
import type { ImportPiece, ImportPieceResult } from '@onewriter/sdk';
import type { HeldRow } from './held-rows.ts';
import type { ImportOptions } from './import-options.ts';

/**
 * Sends a piece to the writer.
 * @param at number of the first row, or of each
 * @throws OnewriterError as Tenant.importRows()
 */
export function sendPiece(
  { tenant, idempotencyKey, fingerprint, statements, maxRejected, writeTimeoutMs, gone }: ImportOptions,
  rows: readonly HeldRow[],
  at: ImportPiece['at'],
): Promise<ImportPieceResult> {
  const hash = new RowsHash();
  for (const held of rows) if (held.row !== undefined) hash.toggle(held.hash!);
  const piece: ImportPiece = {
    key: idempotencyKey,
    fingerprint,
    at,
    rows: rows.map(held => held.row),
    hash: hash.toString(),
    maxRefused: maxRejected,
    statements,
  };
  return tenant.importRows(piece, { timeoutMs: writeTimeoutMs, signal: gone });
}
