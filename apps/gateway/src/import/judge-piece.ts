import { OnewriterError } from '@onewriter/protocol';
import type { HeldRow } from './held-rows.ts';
import { RETRY_FOR_MS } from './import-mark.ts';

/** What an import is doing when a piece fails. */
export interface ImportSituation {
  /** It is to end early. */
  readonly stopped: boolean;
  /** It sends nothing more. */
  readonly halted: boolean;
  /** How long pieces have failed without a success between them. */
  readonly failingMs: number;
}

/** What is to be done about an error of a piece. */
export type Verdict =
  | { readonly type: 'fail'; readonly error: OnewriterError }
  /** Ask how far the import is, and send the rest again. */
  | { readonly type: 'again' }
  /** One of its rows is at fault: send them in pieces of so many. */
  | { readonly type: 'split'; readonly rows: number }
  /** Its only row is at fault. */
  | { readonly type: 'reject' };

/** Decides what is to be done about an error of a piece. */
export function judgePiece(
  rows: readonly Pick<HeldRow, 'line'>[],
  error: OnewriterError,
  { stopped, halted, failingMs }: ImportSituation,
): Verdict {
  const isUnknown = error.code === 'OUTCOME_UNKNOWN';
  const isRowsFault = (error.status < 500 && !error.retryable) || endsBroker(error);
  const isFinal = !error.retryable && !isRowsFault && !isUnknown;
  if (error.code === 'IDEMPOTENCY_KEY_REUSED' || isFinal) return { type: 'fail', error };
  if (stopped || (halted && !isUnknown)) return { type: 'fail', error };
  if (!isRowsFault) return failingMs >= RETRY_FOR_MS ? { type: 'fail', error } : { type: 'again' };
  // One of them ended the transaction for all, or takes too long or too much memory.
  if (rows.length > 1) return { type: 'split', rows: endsBroker(error) ? 1 : Math.ceil(rows.length / 2) };
  if (error.status < 500 && !endsBroker(error)) return { type: 'reject' };
  const { line } = rows[0]!;
  const failure = new OnewriterError(error.code, `Line ${line}: ${error.message}`, { line }, error);
  return { type: 'fail', error: failure };
}

/** Errors of writes for which the broker is replaced: they are not tried in halves. */
function endsBroker({ code }: OnewriterError): boolean {
  return code === 'STATEMENT_TIMEOUT' || code === 'STATEMENT_TOO_COSTLY';
}
