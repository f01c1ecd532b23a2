import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  assertMayMakeDatabase,
  assertNotHibernated,
  OnewriterError,
  realDatabasePath,
  tenantFile,
  type WireError,
} from '@onewriter/protocol';
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
  /** Under one key the same file is loaded once. */
  readonly idempotencyKey?: string | undefined;
  /** Whether a tenant may be made that is not there. */
  readonly mayCreate: boolean;
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
  /** Whether an earlier request with its key did it: nothing has changed, and the figures are of then. */
  readonly loadedBefore: boolean;
  /** The number that the load has. */
  readonly commitSeq: number;
  /** The file that was there before, under its new name; null for a new tenant, and where a dump was added to it. */
  readonly replaced: string | null;
  readonly warnings: readonly string[];
}

/** Events of a load over HTTP; the last is `done` or `failed`. */
export type LoadEvent =
  /** Bytes that were received, or loaded; `totalBytes` is null where it is not known. */
  | {
      readonly event: 'progress';
      readonly step: 'receive' | 'load';
      readonly bytes: number;
      readonly totalBytes: number | null;
    }
  | ({ readonly event: 'done' } & LoadReport)
  /** Nothing has changed, unless the message says otherwise. */
  | { readonly event: 'failed'; readonly error: WireError };

/**
 * Loads a dump or a database into a tenant, all of it or nothing: a file is made beside the tenant's and put in its place. The
 * tenant keeps its own ledger, whatever takes the place of its content.
 *
 * @throws OnewriterError of the dump: SQL_ERROR, CONSTRAINT_VIOLATION, STATEMENT_NOT_ALLOWED, INVALID_ARGUMENT, STATEMENT_TOO_LARGE;
 * TENANT_BUSY (a database where there is one), TENANT_NOT_FOUND, TENANT_UNAVAILABLE (its file is gone), IDEMPOTENCY_KEY_REUSED, and as {@link putTenant}. Nothing has changed then, unless the message says otherwise.
 */
export async function loadTenant(place: DataPlace, request: LoadRequest): Promise<LoadReport> {
  const { tenant, source, format, name, replace, idempotencyKey, mayCreate } = request;
  const path = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const isThere = existsSync(path);
  if (!isThere) {
    assertNotHibernated(place.dataDir, tenant);
    // As for any write: what may come back with its disk gets no other in its place.
    assertMayMakeDatabase(place.dataDir, tenant, path);
    if (!mayCreate) {
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
    }
  }
  const present = isThere ? realDatabasePath(path) : undefined;
  const put = await putTenant<StagedLoad>(place, {
    ...request,
    where: !isThere ? 'new' : replace || format === 'sqlite' ? 'replace' : 'add',
    job: (draft, base) => ({
      kind: 'load',
      ...{ source, format, base, draft, present: base ?? present, idempotencyKey, replace },
    }),
    keepsLedger: true,
    leavePaused: false,
    reason: `import of ${name}`,
  });
  const { statements, rows, tables, foreignKeyViolations, leftOut, before } = put.staged;
  return {
    tenant,
    ...{ statements, rows, tables, foreignKeyViolations, loadedBefore: before !== undefined },
    commitSeq: put.commitSeq,
    replaced: put.replaced,
    warnings: [...put.warnings, ...leftOut.map(what => `left out: ${what}.`)],
  };
}
