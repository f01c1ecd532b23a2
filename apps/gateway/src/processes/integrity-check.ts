import { OnewriterError } from '@onewriter/protocol';
import { type OneShotAnswer, runOneShot } from '@onewriter/runtime';
import type { UncheckedTable } from '@onewriter/runtime/inspect';
import { type Owner, Shares } from '../security/shares.ts';

/** Checks a database file in full. */
export type IntegrityCheck = (tenant: string, options: IntegrityCheckOptions) => Promise<IntegrityResult>;

/** What a check found. */
export interface IntegrityResult {
  /** 'ok', or what is wrong (at most 100 lines). */
  readonly integrity: string;
  /** Tables that SQLite could not check here, and why; what else there is was checked. */
  readonly unchecked: readonly UncheckedTable[];
}

/** How long the caller waits. */
export interface IntegrityCheckOptions {
  /** Whose share it takes. */
  readonly owner: Owner;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Argument of the checking process (JSON). */
export interface IntegrityCheckRequest {
  readonly tenant: string;
  readonly path: string;
  readonly busyTimeoutMs: number;
}

/** What it answers, once, over IPC. */
export type IntegrityCheckAnswer = OneShotAnswer<IntegrityResult>;

/** Full checks at the same time: each reads a whole file. A tenant, or a token of its own, has one of them. */
const MAX_CHECKS = 3;
const RETRY_AFTER_MS = 5_000;
const PROCESS = new URL('./integrity-check-process.js', import.meta.url);

/** Settings of {@link createIntegrityCheck}. */
export interface IntegrityCheckerOptions {
  /** The database file of a tenant. */
  readonly fileOf: (tenant: string) => string;
  readonly busyTimeoutMs: number;
  /** Limit of the checking process; the kernel enforces it on Linux. */
  readonly memoryBytes: number;
}

/**
 * A check that runs in a process of its own with a read-only connection of its own: it can take long, it delays
 * neither writes nor other requests, and unlike a thread inside SQLite it can be stopped at any moment.
 *
 * @returns a function that throws OnewriterError TENANT_NOT_FOUND; STATEMENT_TIMEOUT, ABORTED (the check was stopped);
 * RESULT_TOO_LARGE where it took too much memory; RATE_LIMITED when too many are under way; DATABASE_* where the file cannot be read.
 */
export function createIntegrityCheck(options: IntegrityCheckerOptions): IntegrityCheck {
  const checks = new Shares({
    what: 'full checks',
    total: MAX_CHECKS,
    share: 1,
    retryAfterMs: RETRY_AFTER_MS,
  });
  return async (tenant, { owner, timeoutMs, signal }) => {
    const { release } = checks.take(owner);
    try {
      const request: IntegrityCheckRequest = {
        tenant,
        path: options.fileOf(tenant),
        busyTimeoutMs: options.busyTimeoutMs,
      };
      return await runOneShot<IntegrityResult>(PROCESS, {
        memoryBytes: options.memoryBytes,
        timeoutMs,
        signal,
        args: [JSON.stringify(request)],
        tenant,
        what: 'The full check',
        tooLarge: checkTooLarge,
      });
    } finally {
      release();
    }
  };
}

/** The check computes generated columns, and the expressions of indexes and CHECK constraints. */
export function checkTooLarge(cause?: unknown): OnewriterError {
  const message =
    'The full check needs more memory than it may take: an expression of the schema makes a large value.';
  return new OnewriterError('RESULT_TOO_LARGE', message, {}, cause);
}
