import { existsSync } from 'node:fs';
import { realDatabasePath, shownName, tenantFile } from '@onewriter/protocol';
import { findBrokenObjects, type IntegrityReport, inspected } from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import type { Verification } from '../backup/manifest.ts';
import type { DataPlace } from '../data-place.ts';
import { explainFile } from '../open/explain-file.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly, openTenant } from '../open/open-database.ts';
import { checkDoneJobs, type DoneJob, readDoneJobs } from './check-done-jobs.ts';
import { checkAs, mergeUnchecked } from './check-file.ts';
import { checkLedger } from './check-ledger.ts';
import { checkLog } from './check-log.ts';
import type { Finding } from './finding.ts';

/** Lines of damage that are listed. */
const MAX_LINES = 5;

/**
 * Checks whether a tenant's file is sound: its pages and indexes, its schema, its foreign keys, the writer's own tables
 * against each other, and the jobs that Redis says are done against the ledger.
 */
export async function checkTenant(
  place: DataPlace,
  tenant: string,
  redis: Redis | undefined,
  verification: Verification = 'full',
): Promise<Finding[]> {
  // Before the file is read: what is done then must be in the ledger that is read after it.
  const done = redis === undefined ? [] : await readDoneJobs(redis, place.group, tenant);
  const path = realDatabasePath(tenantFile(place.dataDir, tenant, place.dbFile));
  const look = (open: () => Database.Database, file: string) =>
    checkOpened(open, place, tenant, file, done, verification);
  const findings = look(() => openTenant(place, tenant), path);
  if (!findings.some(({ level }) => level === 'error')) return findings;
  // Nothing of this process has the file open now.
  return [...findings, ...checkLog(tenant, path, copy => look(() => openReadOnly(copy, 0), copy))];
}

function checkOpened(
  open: () => Database.Database,
  place: DataPlace,
  tenant: string,
  path: string,
  done: readonly DoneJob[],
  verification: Verification,
): Finding[] {
  let problems: readonly string[] = [];
  const findings: Finding[] = [];
  try {
    const db = open();
    try {
      db.exec('BEGIN'); // all of one state
      const checked = checkAs(verification, db);
      problems = checked.problems;
      // What a damaged file's tables say means nothing.
      if (problems.length === 0) {
        findings.push(
          ...checkSchema(db, tenant, checked.report),
          ...checkKeys(tenant, checked.report),
          ...checkLedger(db, tenant),
          ...checkDoneJobs(db, place, tenant, done),
        );
      }
    } finally {
      db.close();
    }
  } catch (error) {
    findings.push(unreadable(error, tenant, path));
  }
  // Its first bytes are looked at when it is closed.
  if (problems.length > 0) findings.push(damaged(problems, tenant, path));
  return findings;
}

function unreadable(error: unknown, tenant: string, path: string): Finding {
  const { code, message } = toFileError(error, `Cannot check tenant ${tenant}`);
  return {
    // It is not known to be damaged.
    level: code === 'FILE_IN_USE' ? 'warning' : 'error',
    tenant,
    check: 'readable',
    found: `${code} ${message}`,
    next:
      code === 'DATABASE_CORRUPT'
        ? `Restore the newest good backup: onewriter backup --list ${tenant}, then onewriter restore <backup> ${tenant} --replace. The damaged file is kept.`
        : existsSync(path)
          ? 'Do what the message says, then check again.'
          : `Check whether it is the right data directory; else restore it: onewriter backup --list ${tenant}.`,
  };
}

function damaged(problems: readonly string[], tenant: string, path: string): Finding {
  const { trouble } = explainFile(path);
  const shown = problems.slice(0, MAX_LINES).join('; ');
  const more = problems.length > MAX_LINES ? `; and ${problems.length - MAX_LINES} more` : '';
  const onlyIndexes = problems.every(problem => INDEX_PROBLEM.test(problem));
  return {
    level: 'error',
    tenant,
    check: 'integrity',
    found: `${trouble === undefined ? '' : `The file is damaged: ${trouble}. `}${shown}${more}.`,
    next: onlyIndexes
      ? `Only indexes are wrong, no row is lost: onewriter sql ${tenant} "REINDEX", then check again. Where UNIQUE values are there twice it is refused: mend those rows first.`
      : `Back up what is there (onewriter tenants pause ${tenant}, then copy its folder), then restore the newest good backup with --replace.`,
  };
}

/** Source: SQLite, pragma.c. */
const INDEX_PROBLEM =
  /^(row \S+ missing from index |wrong # of entries in index |non-unique entry in index )/;

/** What the schema names and SQLite does not have here is the tenant's own affair, and not a damage. */
function checkSchema(db: Database.Database, tenant: string, report: IntegrityReport | undefined): Finding[] {
  const broken = findBrokenObjects(inspected(db));
  const findings = broken.map(({ type, name, table, error }): Finding => {
    const of = type === 'index' || type === 'trigger' ? ` on ${shownName(table)}` : '';
    return {
      level: 'warning',
      tenant,
      check: 'schema',
      found: `The ${type} ${shownName(name)}${of} cannot be used here: ${error}.`,
      next: `Mend or drop it, or leave it to the program that made it: onewriter sql ${tenant} .schema`,
    };
  });
  for (const { name, error } of mergeUnchecked(report?.unchecked ?? [])) {
    findings.push({
      level: 'warning',
      tenant,
      check: 'schema',
      found: `The table ${shownName(name)} could not be checked in full, only read: ${error}.`,
      next: 'Check it with the program that knows what it uses.',
    });
  }
  return findings;
}

function checkKeys(tenant: string, report: IntegrityReport | undefined): Finding[] {
  return (report?.violations ?? []).map(({ table, parent, rows }) => ({
    level: 'warning',
    tenant,
    check: 'foreign-keys',
    found:
      rows === 1
        ? `1 row of ${shownName(table)} refers to a row of ${shownName(parent)} that is not there.`
        : `${rows} rows of ${shownName(table)} refer to rows of ${shownName(parent)} that are not there.`,
    next: `See which: onewriter sql ${tenant} "PRAGMA foreign_key_check". They were there before foreign keys were enforced, or while they were off.`,
  }));
}
