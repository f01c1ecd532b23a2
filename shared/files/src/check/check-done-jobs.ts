import { readdirSync } from 'node:fs';
import {
  formerDatabaseEndedAt,
  isOnewriterError,
  isReadJobId,
  isStepsJobId,
  LEDGER_ROW_OF_JOB,
  LIMITS,
  ownNames,
  TENANT_ID_PATTERN,
  tenantQueue,
  tenantsDir,
} from '@onewriter/protocol';
import { sqliteCodeOf } from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import type { DataPlace } from '../data-place.ts';
import { hasTable, openTenant } from '../open/open-database.ts';
import type { Finding } from './finding.ts';

/*
 * A completed job must be in the ledger; else the file is not the one that it was committed to. Exception: jobs of steps that
 * committed nothing, or left a transaction open: their answer is in Redis alone, and the broker says so in their return
 * value (`recorded`). One that says nothing is of an older broker, and may be either.
 */

/** A job that Redis says was completed, and that must be in the ledger. */
export interface DoneJob {
  readonly id: string;
  /** Ms, by the broker's clock. */
  readonly finishedOn: number;
}

/** Tenants whose ledgers are searched for a job that is in the wrong file. */
const MAX_SEARCHED = 5_000;

/**
 * Reads them: the newest 20 to 29 completed jobs of the last minutes, and of a tenant that is idle the last one, which the
 * broker notes when it removes them. @throws Error of Redis
 */
export async function readDoneJobs(redis: Redis, group: string, tenant: string): Promise<DoneJob[]> {
  const { prefix, name } = tenantQueue(group, tenant);
  const entries = await redis.zrange(`${prefix}:${name}:completed`, '0', '-1', 'WITHSCORES');
  const jobs: DoneJob[] = [];
  for (let index = 0; index + 1 < entries.length; index += 2) {
    jobs.push({ id: entries[index]!, finishedOn: Number(entries[index + 1]) });
  }
  const noted = /^(w-\S+) (\d+)/.exec(
    (await redis.hget(`${prefix}:${name}:meta`, 'onewriter.finished')) ?? '',
  );
  if (noted !== null) jobs.push({ id: noted[1]!, finishedOn: Number(noted[2]) });
  const writes = jobs.filter(({ id }) => !isReadJobId(id));
  const steps = writes.filter(({ id }) => isStepsJobId(id));
  if (steps.length === 0) return writes;
  const values = await Promise.all(
    steps.map(({ id }) => redis.hget(`${prefix}:${name}:${id}`, 'returnvalue')),
  );
  const unrecorded = new Set(steps.filter((_, index) => !isRecorded(values[index])).map(({ id }) => id));
  return writes.filter(({ id }) => !unrecorded.has(id));
}

function isRecorded(returnValue: string | null | undefined): boolean {
  if (!returnValue) return false;
  try {
    return (JSON.parse(returnValue) as { recorded?: unknown } | null)?.recorded === true;
  } catch {
    return false; // some other tool's
  }
}

/** Looks for them in the ledger, and for one that is not there in the files of other tenants. */
export function checkDoneJobs(
  db: Database.Database,
  place: DataPlace,
  tenant: string,
  jobs: readonly DoneJob[],
): Finding[] {
  // A person may have accepted that an earlier file is gone.
  const endedAt = formerDatabaseEndedAt(place.dataDir, tenant);
  const missing = findMissing(
    db,
    jobs.filter(({ finishedOn }) => finishedOn > endedAt),
  );
  if (missing.length === 0) return [];
  const isEmpty = db.pragma('page_count', { simple: true }) === 0;
  const verb = ['is', 'are'] as const;
  const found = `${missing.length} of the last ${jobs.length} completed jobs ${missing.length === 1 ? verb[0] : verb[1]} not in the ledger (${missing[0]!.id}${missing.length > 1 ? ' …' : ''}).`;
  const owner = findOwner(place, tenant, missing);
  return [
    {
      level: 'error',
      tenant,
      check: 'committed-jobs',
      found:
        owner !== undefined
          ? `${found} They are in the file of tenant ${owner}: the files were mixed up.`
          : isEmpty
            ? `${found} The file is empty (0 bytes).`
            : found,
      next:
        owner !== undefined
          ? `Before anything more is written: pause both (onewriter tenants pause ${tenant}, and ${owner}), and put each file into the folder that it belongs to.`
          : `Rows of the ledger were deleted, or the file was replaced by another outside of \`onewriter restore\`, or Redis belongs to other files. Find the right file before anything more is written: onewriter tenants pause ${tenant}`,
    },
  ];
}

function findMissing(db: Database.Database, jobs: readonly DoneJob[]): readonly DoneJob[] {
  if (jobs.length === 0 || !hasLedger(db)) return jobs;
  const find = finder(db);
  const from = firstExpected(db);
  return jobs.filter(({ id, finishedOn }) => finishedOn > from && !find(id));
}

function hasLedger(db: Database.Database): boolean {
  return hasTable(db, ownNames(db)('sqlite_onewriter_ledger'));
}

function finder(db: Database.Database): (jobId: string) => boolean {
  const names = ownNames(db);
  const scanned = db.prepare<[string]>(names('SELECT 1 FROM sqlite_onewriter_ledger WHERE job_id = ?'));
  // Where the index is missing or out of step, which is a finding of its own, the row is there all the same.
  if (!hasTable(db, names('sqlite_onewriter_jobs'))) return jobId => scanned.get(jobId) !== undefined;
  const indexed = db.prepare<[string]>(
    names(`SELECT 1 FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`),
  );
  return jobId => indexed.get(jobId) !== undefined || scanned.get(jobId) !== undefined;
}

/**
 * What was completed before a restore is rightly gone. So is what was pruned: a row is pruned by a commit that is
 * `maxTimeoutMs` younger at least, by the clock that both have their time from, whatever that did in between. The first row
 * of all has id 1.
 */
function firstExpected(db: Database.Database): number {
  const names = ownNames(db);
  const read = (sql: string) => db.prepare<[], number | null>(names(sql)).pluck().get() ?? 0;
  const restoredAt = read(
    "SELECT max(committed_at) FROM sqlite_onewriter_ledger WHERE job_id LIKE 'restore-%'",
  );
  if (read('SELECT min(id) FROM sqlite_onewriter_ledger') <= 1) return restoredAt;
  return Math.max(
    restoredAt,
    read('SELECT max(committed_at) FROM sqlite_onewriter_ledger') - LIMITS.maxTimeoutMs,
  );
}

/** The tenant whose file has them; undefined where none has. */
function findOwner(place: DataPlace, tenant: string, missing: readonly DoneJob[]): string | undefined {
  // In the middle of a check, which waits for nothing: no file changes between its statements.
  const names = readdirSync(tenantsDir(place.dataDir)).filter(name => TENANT_ID_PATTERN.test(name));
  for (const other of names.slice(0, MAX_SEARCHED)) {
    if (other === tenant) continue;
    try {
      const db = openTenant(place, other);
      try {
        if (!hasLedger(db)) continue;
        const find = finder(db);
        if (missing.every(({ id }) => find(id))) return other;
      } finally {
        db.close();
      }
    } catch (error) {
      // One that cannot be read is a finding of its own.
      if (!isOnewriterError(error) && sqliteCodeOf(error) === undefined) throw error;
    }
  }
  return undefined;
}
