import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Finding, fileSize, type JobOutcome } from '@onewriter/files';
import { runChecks, summarizeChecks, TENANTS_UNIT } from '@onewriter/operations/files';
import { assertTenantId, isOnewriterError, tenantsDir, type WireError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { findInFolder, findOrphans } from '../check/find-orphans.ts';
import { EXIT } from '../exit-codes.ts';
import { limitsOf, parseJobs } from '../jobs/job-options.ts';
import { openRedis } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { createProgress } from '../progress.ts';
import { count as plural } from '../table.ts';
import { findTarget, placeOf, requireDataDir, type Target } from '../target.ts';
import { listTenantFiles } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter check`, as the command line gives them. */
export interface CheckOptions {
  readonly dataDir?: string | undefined;
  readonly all?: boolean | undefined;
  /** How many tenants at a time. */
  readonly jobs?: string | undefined;
  /** Seconds for each tenant. */
  readonly timeout?: string | undefined;
  /** Only pages, ledger and jobs: not indexes and foreign keys. */
  readonly quick?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter check --json` prints. */
export interface CheckReport {
  readonly tenants: number;
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
  /** What could not be looked at. */
  readonly skipped: readonly string[];
}

/** Checks tenants' files and folders. @returns 3 where something is wrong */
export async function check(tenants: readonly string[], options: CheckOptions): Promise<number> {
  for (const tenant of tenants) assertTenantId(tenant);
  if ((tenants.length === 0) === !options.all) {
    throw new UsageError('Give tenants, or --all.');
  }
  const jobs = parseJobs(options.jobs);
  const verification = options.quick ? 'quick' : 'full';
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  const limits = limitsOf(target, options.timeout);
  const skipped: string[] = [];
  const redis = await tryOpenRedis(target, skipped);
  const progress = createProgress(options.json);
  const findings: Finding[] = [];
  const report = (found: readonly Finding[]) => {
    findings.push(...found);
    progress.end();
    if (!options.json) for (const finding of found) process.stdout.write(asText(finding));
  };
  try {
    const names = options.all ? await listTenantFiles(target) : tenants;
    report(options.all ? findOrphans(target) : tenants.flatMap(tenant => orphansOf(target, tenant)));
    const place = placeOf(target);
    const redisUrl = redis === undefined ? undefined : target.redisUrl;
    let done = 0;
    const processes = {
      ...{ jobs, limits, redisUrl, priority: 'usual' as const },
      bytesOf: (name: string) => fileSize(place, name),
    };
    const onDone = (tenant: string, outcome: JobOutcome<Finding[]>) => {
      report('error' in outcome ? [notChecked(tenant, outcome.error)] : outcome.result);
      if (names.length > 1) progress.update(`${++done} of ${names.length} checked`, done / names.length);
    };
    await asOperation(
      target,
      { kind: 'check', tenants: options.all ? null : names, detail: verification, unit: TENANTS_UNIT },
      { summarize: summarizeChecks, json: options.json },
      context =>
        runChecks(context, { kind: 'check', verification }, { place, tenants: names, processes, onDone }),
    );
    progress.end();
    const count = (level: Finding['level']) => findings.filter(finding => finding.level === level).length;
    const result: CheckReport = {
      tenants: names.length,
      errors: count('error'),
      warnings: count('warning'),
      findings,
      skipped,
    };
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else {
      for (const what of skipped) process.stdout.write(`not checked: ${what}\n`);
      const found = `${plural(result.errors, 'error')}, ${plural(result.warnings, 'warning')}`;
      process.stdout.write(`${plural(result.tenants, 'tenant')} checked: ${found}\n`);
    }
    return result.errors > 0 ? EXIT.found : EXIT.ok;
  } finally {
    redis?.disconnect();
  }
}

/** Its process ended or was stopped, or it failed in a way that the check itself does not know. */
function notChecked(tenant: string, { code, message }: WireError): Finding {
  const stopped = code === 'STATEMENT_TIMEOUT' || code === 'RESULT_TOO_LARGE';
  return {
    level: 'error',
    tenant,
    check: 'readable',
    found: `${code} ${message}`,
    next: stopped
      ? `Look at its schema: onewriter sql ${tenant} .schema`
      : `Check it alone: onewriter check ${tenant}. Look for faults of memory or disks in the system log (dmesg).`,
  };
}

/** The check of the file reports a folder that is not there. */
function orphansOf(target: Target, tenant: string): Finding[] {
  return existsSync(join(tenantsDir(target.dataDir), tenant)) ? findInFolder(target, tenant) : [];
}

async function tryOpenRedis(target: Target, skipped: string[]): Promise<Redis | undefined> {
  try {
    return await openRedis(target);
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    skipped.push(`completed jobs against the ledgers (${error.message})`);
    return undefined;
  }
}

function asText({ level, tenant, check: name, found, next }: Finding): string {
  return `${level.padEnd(8)}${tenant ?? '-'}  ${name}: ${found}\n        → ${next}\n`;
}
