import { LEDGER_ROW_OF_JOB, LEDGER_ROW_OF_JOB_FORMAT_1, tenantQueue } from '@onewriter/protocol';
import { FILE_FORMAT } from '@onewriter/writer';
import type Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { checkIntegrity } from '../backup/copy-database.ts';
import { toFileError } from '../sqlite-error.ts';
import type { Target } from '../target.ts';
import { hasTable, openTenant, readState } from '../tenants/open-tenant.ts';
import { checkLedgerIndex } from './check-ledger-index.ts';

/**
 * - `error`: data is damaged or missing, or will be.
 * - `warning`: look at it.
 * - `note`: what somebody may want to know.
 */
export type FindingLevel = 'error' | 'warning' | 'note';

/** One thing that a check found. */
export interface Finding {
  readonly level: FindingLevel;
  /** Null for what belongs to none. */
  readonly tenant: string | null;
  /** Short name, for programs: `integrity`, `foreign-keys`, `ledger`, `orphan` … */
  readonly check: string;
  readonly found: string;
  /** What to do about it. */
  readonly next: string;
}

/** Lines of damage that are told. */
const MAX_LINES = 5;
/** The layouts of the writer's tables that this program knows. */
const KNOWN_FORMATS = [1, FILE_FORMAT];

/**
 * Looks whether a tenant's file is sound: its pages and indexes, its foreign keys, the writer's own tables against each
 * other, and the jobs that Redis says are done against the ledger.
 */
export async function checkTenant(
  target: Target,
  tenant: string,
  redis: Redis | undefined,
): Promise<Finding[]> {
  // Before the file is read: what is done then must be in the ledger that is read after it.
  const done = redis === undefined ? [] : await readDoneJobs(redis, target.group, tenant);
  try {
    const db = openTenant(target, tenant);
    try {
      db.exec('BEGIN'); // all of one state
      const findings = checkFile(db, tenant);
      // A damaged file's ledger tells nothing.
      if (!findings.some(({ level }) => level === 'error')) {
        findings.push(...checkLedger(db, tenant), ...checkDoneJobs(db, tenant, done));
      }
      return findings;
    } finally {
      db.close();
    }
  } catch (error) {
    const { code, message } = toFileError(error, `Cannot check tenant ${tenant}`);
    return [
      {
        level: 'error',
        tenant,
        check: 'readable',
        found: `${code} ${message}`,
        next:
          code === 'DATABASE_CORRUPT'
            ? `Restore the newest good backup: onewriter backup --list ${tenant}, then onewriter restore <backup> ${tenant} --replace. The damaged file is kept.`
            : 'Do what the message says, then check again.',
      },
    ];
  }
}

function checkFile(db: Database.Database, tenant: string): Finding[] {
  const { problems, foreignKeyViolations } = checkIntegrity(db);
  const findings: Finding[] = [];
  if (problems.length > 0) {
    findings.push({
      level: 'error',
      tenant,
      check: 'integrity',
      found: inOneLine(problems),
      next: `Back up what is there (onewriter tenants pause ${tenant}, then copy its folder), then restore the newest good backup with --replace.`,
    });
  }
  if (foreignKeyViolations > 0) {
    const rows = foreignKeyViolations === 1 ? '1 row refers' : `${foreignKeyViolations} rows refer`;
    findings.push({
      level: 'warning',
      tenant,
      check: 'foreign-keys',
      found: `${rows} to a row that is not there.`,
      next: `See which: onewriter sql ${tenant} "PRAGMA foreign_key_check". They were there before foreign keys were enforced, or while they were off.`,
    });
  }
  return findings;
}

/** SQLite tells all damage of a database in one text of many lines. */
function inOneLine(problems: readonly string[]): string {
  const lines = problems.flatMap(problem => problem.split('\n')).filter(line => !line.startsWith('***'));
  const shown = lines.slice(0, MAX_LINES).join('; ');
  return lines.length > MAX_LINES ? `${shown}; and ${lines.length - MAX_LINES} more.` : `${shown}.`;
}

/** The writer's tables against each other. Source: workers/writer/DESIGN.md */
function checkLedger(db: Database.Database, tenant: string): Finding[] {
  const state = readState(db);
  if (state === undefined) {
    const found = 'No broker has written this file yet: it has no ledger.';
    return [{ level: 'note', tenant, check: 'ledger', found, next: 'Nothing; the first write makes one.' }];
  }
  const next = `Pause it (onewriter tenants pause ${tenant}), compare with the newest backup, and restore that if the data is wrong.`;
  const findings: Finding[] = [];
  const fail = (found: string) => findings.push({ level: 'error', tenant, check: 'ledger', found, next });
  if (!KNOWN_FORMATS.includes(state.format)) {
    fail(`Its tables have format ${state.format}; this program knows ${KNOWN_FORMATS.join(' and ')}.`);
    return findings;
  }
  const tables = ['_onewriter_ledger', '_onewriter_keys'];
  if (state.format > 1) tables.push('_onewriter_jobs');
  for (const table of tables) {
    if (!hasTable(db, table)) fail(`The table ${table} is missing.`);
  }
  if (findings.length > 0) return findings;
  const one = <T>(sql: string) => db.prepare<[], T>(sql).pluck().get();
  const newest = one<number | null>('SELECT max(commit_seq) FROM _onewriter_ledger') ?? null;
  if (newest !== null && newest > state.commitSeq) {
    fail(`The newest commit is ${state.commitSeq}, and the newest in the ledger is ${newest}.`);
  }
  if (state.format > 1) for (const found of checkLedgerIndex(db)) fail(found);
  const disordered = one<number>(
    `SELECT count(*) FROM (SELECT commit_seq < lag(commit_seq) OVER (ORDER BY id) AS back FROM _onewriter_ledger) WHERE back`,
  );
  if (disordered) fail(`${disordered} rows of the ledger have a lower commit than the row before.`);
  const broken = one<number>(
    "SELECT count(*) FROM _onewriter_ledger WHERE CASE WHEN json_valid(results) THEN json_type(results) <> 'array' ELSE 1 END",
  );
  if (broken) fail(`${broken} rows of the ledger hold no results.`);
  const unfinished = one<number>(
    'SELECT count(*) FROM _onewriter_ledger WHERE next_op IS NOT NULL AND commit_seq < (SELECT max(commit_seq) FROM _onewriter_ledger)',
  );
  if (unfinished) {
    findings.push({
      level: 'warning',
      tenant,
      check: 'ledger',
      found: `${unfinished} jobs were applied in part and then overtaken.`,
      next: `See the dead letters: onewriter dead-letters list --tenant ${tenant}`,
    });
  }
  return findings;
}

/** A job that Redis says was completed. */
interface DoneJob {
  readonly id: string;
  readonly finishedOn: number;
}

async function readDoneJobs(redis: Redis, group: string, tenant: string): Promise<DoneJob[]> {
  const { prefix, name } = tenantQueue(group, tenant);
  const entries = await redis.zrange(`${prefix}:${name}:completed`, '0', '-1', 'WITHSCORES');
  const jobs: DoneJob[] = [];
  for (let index = 0; index + 1 < entries.length; index += 2) {
    jobs.push({ id: entries[index]!, finishedOn: Number(entries[index + 1]) });
  }
  return jobs;
}

/** What was completed must be in the ledger, or the file is not the one that it was committed to. */
function checkDoneJobs(db: Database.Database, tenant: string, jobs: readonly DoneJob[]): Finding[] {
  if (jobs.length === 0 || !hasTable(db, '_onewriter_ledger')) return [];
  const ofJob = hasTable(db, '_onewriter_jobs') ? LEDGER_ROW_OF_JOB : LEDGER_ROW_OF_JOB_FORMAT_1;
  const find = db.prepare<[string]>(`SELECT 1 FROM _onewriter_ledger WHERE ${ofJob}`);
  // What was completed before a restore, or before the oldest row that is kept, is rightly gone.
  const since =
    db
      .prepare<[], number | null>(
        `SELECT max(coalesce((SELECT max(committed_at) FROM _onewriter_ledger WHERE job_id LIKE 'restore-%'), 0),
           coalesce((SELECT min(committed_at) FROM _onewriter_ledger), 0))`,
      )
      .pluck()
      .get() ?? 0;
  const missing = jobs.filter(({ id, finishedOn }) => finishedOn > since && find.get(id) === undefined);
  if (missing.length === 0) return [];
  return [
    {
      level: 'error',
      tenant,
      check: 'committed-jobs',
      found: `${missing.length} of the last ${jobs.length} completed jobs are not in the ledger (${missing[0]!.id} …).`,
      next: 'The file was replaced by an older one outside of `onewriter restore`, or Redis belongs to other files. Find the right file before anything more is written: pause the tenant.',
    },
  ];
}
