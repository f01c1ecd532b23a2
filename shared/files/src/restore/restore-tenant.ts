import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { assertNotHibernated, OnewriterError, tenantFile } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { DataPlace } from '../data-place.ts';
import type { JobLimits } from '../processes/job-limits.ts';
import { putTenant } from './put-tenant.ts';
import type { StagedBackup } from './stage-backup.ts';

/** What is to be restored. */
export interface RestoreRequest {
  /** Absolute. */
  readonly backup: string;
  readonly tenant: string;
  /** Whether the tenant's present file may be put aside. */
  readonly replace: boolean;
  /** Whether it stays paused afterwards. */
  readonly leavePaused: boolean;
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: Redis | undefined;
  /** Who restores it, for those who find the tenant held. */
  readonly who: string;
  /** What the process that copies and checks the backup may take; `timeoutMs` gets the tenant's name. */
  readonly limits: JobLimits;
  /** `usual` for what a person started and waits for. Default: `low`. */
  readonly priority?: 'low' | 'usual' | undefined;
  /** Stops it as long as nothing has changed; afterwards it is finished. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the backup is checked: from here on it is finished, whatever the signal says. */
  readonly onChecked?: (() => void) | undefined;
}

/** What a restore did. */
export interface RestoreReport {
  readonly tenant: string;
  readonly file: string;
  /** The file that was there before, under its new name; null for a new tenant. */
  readonly replaced: string | null;
  /** Newest commit of the backup; null where no broker had written it. */
  readonly backupCommitSeq: number | null;
  /** Newest commit of the replaced file; null for a new tenant, and where it could not be read. */
  readonly replacedCommitSeq: number | null;
  /** The number that the restore itself has. */
  readonly commitSeq: number;
  readonly rows: number;
  readonly tables: number;
  /** Null where the manifest does not say and it was not looked at. */
  readonly foreignKeyViolations: number | null;
  /** Whether the bytes were compared with a manifest. */
  readonly comparedWithManifest: boolean;
  /** Jobs that wait in the queue: they are applied to what was restored. */
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  /** What could not be done as it should be. */
  readonly warnings: readonly string[];
}

/**
 * Restores a backup, as a new tenant or in the place of its file.
 *
 * @throws OnewriterError DATABASE_CORRUPT (the backup is damaged), TENANT_BUSY (there is a file and `replace` is not set;
 * or another process writes it), ABORTED, STATEMENT_TIMEOUT, RESULT_TOO_LARGE (its check took more than it may), DATABASE_…,
 * TENANT_UNAVAILABLE. Nothing has changed then, unless the message says otherwise.
 */
export async function restoreTenant(place: DataPlace, request: RestoreRequest): Promise<RestoreReport> {
  const { tenant, replace, backup } = request;
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const isThere = existsSync(file);
  // A file that is there counts.
  if (!isThere) assertNotHibernated(place.dataDir, tenant);
  if (isThere && !replace) {
    throw new OnewriterError(
      'TENANT_BUSY',
      `Tenant ${tenant} has a file already. To put it aside and restore in its place: --replace. To look at the backup first, restore it under another name.`,
      { tenant },
    );
  }
  const put = await putTenant<StagedBackup>(place, {
    ...request,
    where: isThere ? 'replace' : 'new',
    job: draft => ({ kind: 'stage', backup, draft }),
    // The backup's is the one that describes it.
    keepsLedger: false,
    reason: `from ${backup}`,
  });
  const { staged, old } = put;
  return {
    tenant,
    file: put.file,
    replaced: put.replaced,
    backupCommitSeq: staged.commitSeq,
    replacedCommitSeq: put.replaced === null ? null : (old?.commitSeq ?? null),
    commitSeq: put.commitSeq,
    rows: staged.rows,
    tables: staged.tables,
    foreignKeyViolations: staged.foreignKeyViolations,
    comparedWithManifest: staged.comparedWithManifest,
    queuedJobs: put.queuedJobs,
    paused: put.paused,
    warnings: put.warnings,
  };
}
