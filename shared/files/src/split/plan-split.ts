import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { isStatementError, quoteName } from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import { findLog } from '../own/exclusively.ts';
import { assertDatabase } from '../restore/stage-backup.ts';
import { findCrossings, findDangling, findSlowTables } from './check-rows.ts';
import { fold } from './source-schema.ts';
import { sourceChanged, stampOf } from './source-stamp.ts';
import type { PlanSplitJob, SplitOptions, SplitPlan, SplitTable } from './split-messages.ts';
import { findSplitRules, type RuledTable } from './split-rules.ts';
import { findSchemaTrouble } from './split-schema.ts';
import { TenantCounts } from './tenant-counts.ts';
import { tableFinder } from './tenant-path.ts';

/**
 * Counts what each tenant would get, and finds all that is unclear. It changes nothing. The schema of the source can make it as long and
 * as large as it likes: to be called in a process that is bounded.
 * @throws OnewriterError INVALID_ARGUMENT (no database, more tenants than can be handled), DATABASE_…
 */
export async function planSplit(
  { source, options }: PlanSplitJob,
  busyTimeoutMs: number,
  onProgress: (tables: number) => void,
): Promise<SplitPlan> {
  const { trouble } = assertDatabase(source);
  if (trouble !== undefined)
    throw new OnewriterError('DATABASE_CORRUPT', `${source} is damaged: ${trouble}.`);
  const log = findLog(source);
  if (log !== undefined) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `Commits of ${source} may lie in ${log}. End the programs that have it open; sqlite3 ${source} "PRAGMA wal_checkpoint" writes it back.`,
    );
  }
  const stamp = stampOf(source);
  const hash = await hashFile(source);
  const db = openReadOnly(source, busyTimeoutMs);
  try {
    db.exec('BEGIN');
    const found = plan(db, options, onProgress);
    if (stampOf(source) !== stamp) throw sourceChanged(source);
    return { bytes: statSync(source).size, hash, stamp, ...found };
  } catch (error) {
    throw toFileError(error, `Cannot look at ${source}`);
  } finally {
    db.close();
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

type Found = Pick<SplitPlan, 'tables' | 'tenants' | 'notes' | 'dangles'>;

function plan(db: Database.Database, options: SplitOptions, onProgress: (tables: number) => void): Found {
  const rules = findSplitRules(db, options);
  if (rules.notes.length > 0) {
    const tables = rules.tables.map(({ name, rule }) => ({ name, rule, rows: 0, leftOut: 0 }));
    return { tables, tenants: [], notes: rules.notes, dangles: false };
  }
  const notes = [...findSchemaTrouble(db, rules)];
  const find = tableFinder(rules.tables);
  const counts = new TenantCounts();
  const tables = rules.tables.map((table, index): SplitTable => {
    const { name, rule } = table;
    const rows = countRows(db, table);
    onProgress(index);
    if (rule.kind === 'shared' || rule.kind === 'leftOut' || table.kind !== 'table')
      return { name, rule, rows, leftOut: rule.kind === 'shared' ? 0 : rows };
    const leftOut = counts.add(db, find, table, index);
    return { name, rule, rows, leftOut };
  });
  notes.push(
    ...counts.notes(tables, options.leaveOutNull),
    ...findCrossings(db, rules, find),
    ...findSlowTables(db, rules, counts.size),
  );
  const { dangles, note } = findDangling(db, rules);
  if (note !== undefined) notes.push(note);
  return { tables, tenants: counts.parts(tables, tableBytes(db)), notes, dangles };
}

function countRows(db: Database.Database, { name }: RuledTable): number {
  try {
    return db
      .prepare<[], number>(`SELECT count(*) FROM main.${quoteName(name)}`)
      .pluck()
      .get()!;
  } catch (error) {
    if (isStatementError(error)) return 0; // a virtual table without its module: it is left out
    throw error;
  }
}

/** Pages of each table, its indexes among them. */
function tableBytes(db: Database.Database): ReadonlyMap<string, number> {
  const rows = db
    .prepare<[], { name: string; bytes: number }>(
      `SELECT s.tbl_name AS name, sum(d.pgsize) AS bytes FROM dbstat AS d JOIN main.sqlite_schema AS s ON s.name = d.name
         WHERE d.aggregate = TRUE AND s.rootpage > 0 GROUP BY s.tbl_name`,
    )
    .all();
  return new Map(rows.map(({ name, bytes }) => [fold(name), bytes]));
}
