import type { JournalEntry } from '../journal.ts';
import { collectWrites, countOutcomes, Lateness, type OutcomeCounts } from './answers.ts';
import { compareTenant } from './compare.ts';
import { Findings, type Violation } from './findings.ts';
import type { OracleOptions } from './options.ts';
import { readTenant } from './tenant-content.ts';

/*
 * The oracle compares the answers of clients with what is in the tenants' files, when everything has stopped. It knows
 * nothing of how a write travels: journals and files are all it reads.
 *
 *   journals ──▶ collectWrites ──▶ what may be in the files, per write: exactly once, at most once, not at all
 *                                            │
 *   tenant files ──▶ readTenant ─────────────┴──▶ compare ──▶ violations
 */

/** What the oracle found. */
export interface Verdict {
  readonly violations: readonly Violation[];
  readonly counts: OutcomeCounts & {
    /** Answers that came after the slack, all of it time that the machine took. */
    readonly starved: number;
    /** How late the latest answer was after its deadline, without the time that the machine took. */
    readonly latestMs: number;
    /** Rows in the logs. */
    readonly rows: number;
    /** Sum of commit_seq over the tenants. */
    readonly commits: number;
  };
}

/** Judges a run. All processes that write must have ended. */
export function judge(journals: readonly (readonly JournalEntry[])[], options: OracleOptions): Verdict {
  const found = new Findings();
  const lateness = new Lateness(options);
  const writes = collectWrites(journals, options, lateness, found);
  let rows = 0;
  let commits = 0;
  for (const tenant of options.tenants) {
    if (options.damagedTenants?.includes(tenant)) continue;
    const written = writes.filter(write => write.tenant === tenant);
    const content = readTenant(options.dataDir, tenant, written, found);
    if (content === undefined) continue;
    rows += content.rows.length;
    commits += content.commitSeq;
    compareTenant(tenant, content, written, options, found);
  }
  const { starved, latestMs } = lateness;
  const counts = { ...countOutcomes(writes), starved, latestMs, rows, commits };
  if (counts.committed === 0) found.add('no-progress', 'No client got a commit acknowledged.');
  return { violations: found.all, counts };
}
