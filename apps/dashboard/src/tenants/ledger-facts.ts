import { decodeValue, isOnewriterError, readOwnTablesLater, type WireValue } from '@onewriter/protocol';
import type { DashboardGateway, GatewayCall } from '../dashboard-gateway.ts';

/*
 * Facts from a tenant's own ledger, which is in the same file and the same transactions as the data.
 */

/** One commit. */
export interface Commit {
  readonly commitSeq: number;
  /** Ms since the epoch, by the broker's clock. */
  readonly at: number;
  readonly jobs: number;
  readonly writes: number;
}

/** A write that failed, and was reported to its caller as failed. */
export interface FailedWrite {
  readonly receiptId: string;
  readonly at: number;
  readonly code: string;
  readonly message: string;
}

/** Facts from the newest part of the ledger. */
export interface LedgerFacts {
  /** The newest first. */
  readonly commits: readonly Commit[];
  readonly failures: readonly FailedWrite[];
  /** Jobs per minute of the last hour, the oldest first. */
  readonly jobsPerMinute: readonly number[];
  readonly endsAt: number;
}

const MAX_COMMITS = 10;
const MAX_FAILURES = 15;
export const MINUTES = 60;
/** Results larger than this are not looked into: a ledger's row may have some megabytes. */
const MAX_RESULTS = 200_000;

const COMMITS = `
  SELECT commit_seq, max(committed_at), count(*),
    sum(CASE WHEN length(results) < ${MAX_RESULTS} THEN json_array_length(results) ELSE 0 END)
  FROM (SELECT commit_seq, committed_at, results FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 500)
  GROUP BY commit_seq ORDER BY commit_seq DESC LIMIT ${MAX_COMMITS}`;
const FAILURES = `
  SELECT l.job_id || '.' || e.key, l.committed_at, json_extract(e.value, '$.e.code'), json_extract(e.value, '$.e.message')
  FROM (SELECT id, job_id, committed_at, results FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1000) l, json_each(l.results) e
  WHERE length(l.results) < ${MAX_RESULTS} AND e.type = 'object' AND json_type(e.value, '$.e') IS NOT NULL
  ORDER BY l.id DESC LIMIT ${MAX_FAILURES}`;
/** One number each: how many minutes ago. The ledger keeps at most 100,000 rows. */
const ACTIVITY = (now: number) => `
  SELECT CAST((${now} - committed_at) / 60000 AS INTEGER) AS ago, count(*)
  FROM (SELECT committed_at FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 50000)
  WHERE committed_at > ${now - MINUTES * 60_000} GROUP BY ago`;

/**
 * Reads a tenant's ledger; undefined for a file that no broker has written yet.
 * @throws OnewriterError of the gateway
 */
export async function readLedgerFacts(
  gateway: DashboardGateway,
  tenant: string,
  call: GatewayCall,
): Promise<LedgerFacts | undefined> {
  const now = Date.now();
  try {
    // One after the other: a tenant's page must not occupy all of the gateway's processes.
    const read = (sql: string, rows: number) =>
      readOwnTablesLater(names => gateway.read(tenant, names(sql), rows, call));
    const commits = await read(COMMITS, MAX_COMMITS);
    const failures = await read(FAILURES, MAX_FAILURES);
    const activity = await read(ACTIVITY(now), MINUTES + 2);
    const jobsPerMinute = Array.from({ length: MINUTES }, () => 0);
    for (const [ago, jobs] of activity.rows) {
      const index = MINUTES - 1 - Math.max(0, numberOf(ago));
      if (index >= 0) jobsPerMinute[index]! += numberOf(jobs);
    }
    return {
      commits: commits.rows.map(([commitSeq, at, jobs, writes]) => ({
        commitSeq: numberOf(commitSeq),
        at: numberOf(at),
        jobs: numberOf(jobs),
        writes: numberOf(writes),
      })),
      failures: failures.rows.map(([receiptId, at, code, message]) => ({
        receiptId: textOf(receiptId),
        at: numberOf(at),
        code: textOf(code),
        message: textOf(message),
      })),
      jobsPerMinute,
      endsAt: now,
    };
  } catch (error) {
    if (isOnewriterError(error, 'SQL_ERROR')) return undefined;
    throw error;
  }
}

function numberOf(value: WireValue | undefined): number {
  return value === undefined ? 0 : Number(decodeValue(value));
}

function textOf(value: WireValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
