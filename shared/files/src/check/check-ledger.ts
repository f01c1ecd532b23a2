import { INTERNAL_TABLE_PREFIX, LIMITS, ownNames } from '@onewriter/protocol';
import { FILE_FORMAT, FORMER_FORMAT } from '@onewriter/writer';
import type Database from 'better-sqlite3';
import { hasTable, readFormat, readState } from '../open/open-database.ts';
import { checkLedgerIndex } from './check-ledger-index.ts';
import { countOf, type Finding } from './finding.ts';

/** Ids that are listed. */
const MAX_IDS = 5;

/*
 * A row that was written again, because a job in several commits was delivered again after later ones, has a later commit
 * than the rows behind it, and a later time: that is in order.
 */
const DISORDERED = `SELECT count(*) FROM (
  SELECT commit_seq, committed_at, lag(commit_seq) OVER ids AS seq_before, lag(committed_at) OVER ids AS time_before
  FROM sqlite_onewriter_ledger WINDOW ids AS (ORDER BY id))
  WHERE commit_seq < seq_before AND NOT time_before > committed_at`;

/**
 * Ids that are not there although those around them are. The newest rows are never pruned, and only a restore, whose row
 * says so, skips ids. Before the first row everything may have been pruned.
 */
const MISSING = `SELECT before + 1 AS first, id - before - 1 AS rows FROM (
  SELECT id, job_id, lag(id) OVER (ORDER BY id) AS before FROM sqlite_onewriter_ledger
  WHERE id > (SELECT max(id) FROM sqlite_onewriter_ledger) - ${LIMITS.maxQueueDepth})
  WHERE id > before + 1 AND job_id NOT LIKE 'restore-%'`;

/** The writer's tables against each other. Source: workers/writer/README.md */
export function checkLedger(db: Database.Database, tenant: string): Finding[] {
  const names = ownNames(db);
  const tables = ['state', 'ledger', 'keys', 'jobs'].map(table => names(INTERNAL_TABLE_PREFIX + table));
  const [stateTable, ...needed] = tables as [string, ...string[]];
  if (!tables.some(table => hasTable(db, table))) {
    const found = 'No broker has written this file yet: it has no ledger.';
    return [{ level: 'note', tenant, check: 'ledger', found, next: 'Nothing; the first write makes one.' }];
  }
  const findings: Finding[] = [];
  const fail = (found: string, next = compareWithBackup(tenant)) =>
    findings.push({ level: 'error', tenant, check: 'ledger', found, next });
  if (!hasTable(db, stateTable)) {
    fail(`The table ${stateTable} is missing: epoch and newest commit are not known.`);
    return findings;
  }
  const format = readFormat(db);
  if (format === undefined) {
    fail(
      `The table ${stateTable} has no row: the epoch of the newest broker is not known, nor commits without a row in the ledger.`,
    );
  } else if (format !== FILE_FORMAT && format !== FORMER_FORMAT) {
    fail(
      `Its tables have format ${format}; this program knows format ${FILE_FORMAT}.`,
      'Another version of Onewriter has written it: use that one. This one does not write it.',
    );
    return findings;
  }
  for (const table of needed) if (!hasTable(db, table)) fail(`The table ${table} is missing.`);
  if (needed.some(table => !hasTable(db, table))) return findings;
  const one = <T>(sql: string) => db.prepare<[], T>(names(sql)).pluck().get();
  const newest = one<number | null>('SELECT max(commit_seq) FROM sqlite_onewriter_ledger') ?? null;
  const state = readState(db);
  if (state !== undefined && newest !== null && newest > state.commitSeq) {
    fail(`The newest commit is ${state.commitSeq}, and the newest in the ledger is ${newest}.`);
  }
  for (const found of checkLedgerIndex(db)) fail(found);
  const missing = db.prepare<[], { first: number; rows: number }>(names(MISSING)).all();
  if (missing.length > 0) fail(describeMissing(missing));
  const disordered = one<number>(DISORDERED) ?? 0;
  if (disordered > 0) {
    fail(
      `${countOf(disordered, 'row', ['of the ledger has', 'of the ledger have'])} a lower commit than the row before.`,
    );
  }
  const broken =
    one<number>(
      "SELECT count(*) FROM sqlite_onewriter_ledger WHERE CASE WHEN json_valid(results) THEN json_type(results) <> 'array' ELSE 1 END",
    ) ?? 0;
  if (broken > 0)
    fail(`${countOf(broken, 'row', ['of the ledger holds', 'of the ledger hold'])} no results.`);
  const unfinished =
    one<number>(
      'SELECT count(*) FROM sqlite_onewriter_ledger WHERE next_op IS NOT NULL AND commit_seq < (SELECT max(commit_seq) FROM sqlite_onewriter_ledger)',
    ) ?? 0;
  if (unfinished > 0) {
    findings.push({
      level: 'warning',
      tenant,
      check: 'ledger',
      found: `${countOf(unfinished, 'job', ['was', 'were'])} applied in part and then overtaken.`,
      next: `See the dead letters: onewriter dead-letters list --tenant ${tenant}`,
    });
  }
  return findings;
}

function compareWithBackup(tenant: string): string {
  return `Pause it (onewriter tenants pause ${tenant}), compare with the newest backup, and restore that if the data is wrong.`;
}

function describeMissing(missing: readonly { readonly first: number; readonly rows: number }[]): string {
  const rows = missing.reduce((sum, gap) => sum + gap.rows, 0);
  const ids = missing
    .slice(0, MAX_IDS)
    .map(gap => (gap.rows === 1 ? String(gap.first) : `${gap.first} to ${gap.first + gap.rows - 1}`));
  const list = `id ${ids.join(', ')}${missing.length > MAX_IDS ? ' …' : ''}`;
  return `${countOf(rows, 'row', ['of the ledger is', 'of the ledger are'])} missing (${list}): receipts of those jobs are unknown, and if one comes again, it is applied again.`;
}
