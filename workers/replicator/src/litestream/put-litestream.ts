import {
  type DataPlace,
  flush,
  inspectLoaded,
  type JobContext,
  NO_NUMBERS,
  putTenant,
  removeDatabase,
  type StagedFile,
  takeOutOwn,
  toFileError,
} from '@onewriter/files';
import { OnewriterError } from '@onewriter/protocol';
import { jobEnv, type PublicAccess, publicAccess, replicaJob, withRoom } from '../jobs/replica-access.ts';
import { hasFile, type PlaceRequest } from '../restore/restore-point.ts';
import { openStore } from '../store/open-store.ts';
import { type LitestreamRestore, restoreLitestream } from './restore-litestream.ts';

/** A Litestream 0.3 replica that is to become a tenant. */
export interface PutLitestreamRequest extends PlaceRequest {
  /** Of the folder that has `generations`. */
  readonly url: string;
  readonly tenant: string;
  /** Nothing that was stored later, ms since the epoch; default: all. */
  readonly atMs?: number | undefined;
}

/** What its restore did. */
export interface LitestreamReport extends LitestreamRestore {
  readonly tenant: string;
  readonly file: string;
  /** The file that was there before, under its new name; null for a new tenant. */
  readonly replaced: string | null;
  readonly replacedCommitSeq: number | null;
  /** The number that the restore itself has. */
  readonly commitSeq: number;
  readonly rows: number;
  readonly tables: number;
  /** Rows that refer to a row that is not there. */
  readonly foreignKeyViolations: number;
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  readonly warnings: readonly string[];
}

/**
 * Restores what Litestream stored, as a new tenant or in the place of a tenant's file. A tenant that is there keeps its ledger.
 *
 * @throws OnewriterError NOT_FOUND, REPLICA_…, DATABASE_CORRUPT, STATEMENT_NOT_ALLOWED (the schema has names of Onewriter), TENANT_BUSY
 * (there is a file and `replace` is not set), ABORTED, and as `putTenant`. Nothing has changed then, unless the message says otherwise.
 */
export async function putLitestream(
  place: DataPlace,
  request: PutLitestreamRequest,
): Promise<LitestreamReport> {
  const { url, tenant, atMs, replace, leavePaused = false } = request;
  const isThere = hasFile(place, tenant);
  if (isThere && !replace) {
    throw new OnewriterError(
      'TENANT_BUSY',
      `Tenant ${tenant} has a file already. To put it aside: --replace.`,
      { tenant },
    );
  }
  const access = { url, masterKeys: [], keys: 'one' } as const;
  const put = await putTenant<StagedLitestream>(place, {
    ...request,
    where: isThere ? 'replace' : 'new',
    job: draft =>
      replicaJob<StageLitestreamArgs>('stageLitestream', { ...publicAccess(access), atMs, draft }, draft),
    env: jobEnv(access),
    limits: withRoom(request.limits),
    keepsLedger: true,
    leavePaused,
    reason: `from the Litestream replica ${url}`,
  });
  const { generation, storedMs, logs, bytes, rows, tables, foreignKeyViolations } = put.staged;
  return {
    ...{ tenant, file: put.file, replaced: put.replaced, replacedCommitSeq: put.old?.commitSeq ?? null },
    ...{ commitSeq: put.commitSeq, generation, storedMs, logs, bytes, rows, tables, foreignKeyViolations },
    ...{ queuedJobs: put.queuedJobs, paused: put.paused, warnings: put.warnings },
  };
}

/** A file beside the tenant's, with what Litestream stored. */
interface StagedLitestream extends StagedFile, LitestreamRestore {
  readonly rows: number;
  readonly tables: number;
  readonly foreignKeyViolations: number;
}

export interface StageLitestreamArgs extends PublicAccess {
  readonly atMs: number | undefined;
  readonly draft: string;
}

/** In a process of its own. @throws OnewriterError as {@link putLitestream} */
export async function stageLitestream(
  { onProgress }: Pick<JobContext, 'onProgress'>,
  { url, atMs, draft }: StageLitestreamArgs,
): Promise<StagedLitestream> {
  const store = await openStore(url);
  try {
    const restored = await restoreLitestream({ store, draft, atMs, onProgress });
    const hadOwn = takeOutOwn(draft);
    flush(draft);
    const { warnings, ...found } = inspectLoaded(draft);
    const leftOut = hadOwn ? ["left out: Onewriter's own tables."] : [];
    return { ...restored, ...found, numbers: NO_NUMBERS, warnings: [...warnings, ...leftOut] };
  } catch (error) {
    removeDatabase(draft);
    throw toFileError(error, 'Cannot restore the Litestream replica');
  } finally {
    await store.close();
  }
}
