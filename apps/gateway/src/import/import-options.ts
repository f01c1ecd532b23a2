import type { WireError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';

/** What to do with a row that breaks a constraint. */
export type OnConflict = 'reject' | 'ignore' | 'replace';

/** Settings of an import. */
export interface ImportOptions {
  readonly tenant: Tenant;
  /** The import's name: sent again under it, no row is applied twice. */
  readonly idempotencyKey: string;
  /** What it does with its rows; see `fingerprintImport`. */
  readonly fingerprint: string;
  /** Whether the rows are statements of a dump. Default: false. */
  readonly statements?: boolean | undefined;
  /** Rows that may be rejected before the import is given up; up to LIMITS.maxImportRefused. */
  readonly maxRejected: number;
  readonly writeTimeoutMs: number;
  /** Called before rows are sent. @throws OnewriterError where no more may be written */
  readonly assertMayWrite: () => Promise<void>;
  /** Ends the import early. */
  readonly stop: AbortSignal;
  /** Fires when no caller waits for its end any more: nothing more is sent. */
  readonly gone: AbortSignal;
}

/** How far an import is. `accepted + skipped + rejected + unknown` are `rows`, where it was not ended early. */
export interface ImportProgress {
  /** Rows that were read. */
  readonly rows: number;
  /** Rows that this request committed, with `onConflict=ignore` also those that were ignored. */
  readonly accepted: number;
  /**
   * Rows of `accepted` that changed nothing: they conflict with a row that is there. Those of a piece whose answer was lost
   * are not counted.
   */
  readonly ignored: number;
  /** Rows that were committed before, by a request with the same key. */
  readonly skipped: number;
  readonly rejected: number;
  /** Rows of which it could not be learnt whether they were committed. */
  readonly unknown: number;
  /** As of this commit all accepted and skipped rows are there; 0: there are none. */
  readonly commitSeq: number;
}

/** Events of an import; the last is `done`, `failed` or `interrupted`. */
export type ImportEvent =
  | ({
      readonly event: 'progress' | 'done' | 'interrupted';
      readonly idempotencyKey: string;
    } & ImportProgress)
  | {
      readonly event: 'rejected';
      /** From 0. */
      readonly row: number;
      /** Where it begins in the file, from 1. */
      readonly line: number;
      readonly error: WireError;
    }
  | ({
      readonly event: 'failed';
      readonly idempotencyKey: string;
      readonly error: WireError;
    } & ImportProgress);

export const PROGRESS_EVERY_MS = 1_000;
