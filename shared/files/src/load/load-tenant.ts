import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { OnewriterError, tenantFile } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { DataPlace } from '../data-place.ts';
import type { JobLimits } from '../processes/job-limits.ts';
import { putTenant } from '../restore/put-tenant.ts';
import type { LoadFormat, StagedLoad } from './stage-load.ts';

/** What is to be loaded. */
export interface LoadRequest {
  readonly tenant: string;
  /** Absolute; a plain file, not packed. */
  readonly source: string;
  readonly format: LoadFormat;
  /** Its name, for people. */
  readonly name: string;
  /** Whether it takes the place of what the tenant has; else a dump is added to that. */
  readonly replace: boolean;
  readonly redis: Redis;
  readonly who: string;
  readonly limits: JobLimits;
  readonly signal?: AbortSignal | undefined;
  /** @param bytes of the source that are loaded */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Called when all is loaded and checked: from here on it is finished, whatever the signal says. */
  readonly onChecked?: (() => void) | undefined;
}

/** What a load did. */
export interface LoadReport {
  readonly tenant: string;
  /** Statements of a dump; 0 for a database. */
  readonly statements: number;
  /** What the tenant has now. */
  readonly rows: number;
  readonly tables: number;
  /** Rows that refer to a row that is not there. */
  readonly foreignKeyViolations: number;
  /** The number that the load has. */
  readonly commitSeq: number;
  /** The file that was there before, under its new name; null for a new tenant. */
  readonly replaced: string | null;
  readonly warnings: readonly string[];
}

/**
 * Loads a dump or a database into a tenant, all of it or nothing: a file is made beside the tenant's and put in its place. The
 * tenant keeps its own ledger, whatever takes the place of its content.
 *
 * @throws OnewriterError of the dump: SQL_ERROR, CONSTRAINT_VIOLATION, STATEMENT_NOT_ALLOWED, INVALID_ARGUMENT, STATEMENT_TOO_LARGE;
 * TENANT_BUSY (a database where there is one), and as {@link putTenant}. Nothing has changed then, unless the message says otherwise.
 */
export async function loadTenant(place: DataPlace, request: LoadRequest): Promise<LoadReport> {
  const { tenant, source, format, name, replace } = request;
  const isThere = existsSync(resolve(tenantFile(place.dataDir, tenant, place.dbFile)));
  if (isThere && !replace && format === 'sqlite') {
    throw new OnewriterError(
      'TENANT_BUSY',
      `Tenant ${tenant} has a file already. A database takes its place with --replace; to add its rows, load its dump: sqlite3 file.db .dump > dump.sql`,
      { tenant },
    );
  }
  const put = await putTenant<StagedLoad>(place, {
    ...request,
    where: !isThere ? 'new' : replace ? 'replace' : 'add',
    job: (draft, base) => ({ kind: 'load', source, format, base, draft }),
    keepsLedger: true,
    leavePaused: false,
    reason: `import of ${name}`,
  });
  const { statements, rows, tables, foreignKeyViolations, leftOut } = put.staged;
  return {
    tenant,
    ...{ statements, rows, tables, foreignKeyViolations },
    commitSeq: put.commitSeq,
    replaced: put.replaced,
    warnings: [...put.warnings, ...leftOut.map(what => `left out: ${what}.`)],
  };
}
