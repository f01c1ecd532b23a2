import { setTimeout as pause } from 'node:timers/promises';
import {
  assertRoom,
  checkFile,
  type DataPlace,
  hashContent,
  type JobContext,
  type JobLimits,
  openReadOnly,
  readState,
  runOneJob,
  SPARE_BYTES,
} from '@onewriter/files';
import { findDatabaseFile, isOnewriterError, tenantFile } from '@onewriter/protocol';
import type { Point } from '../chain/point.ts';
import { openReplicaReader, type ReplicaReader, type RestorePlan } from '../chain/replica-reader.ts';
import {
  jobEnv,
  type OpenReplica,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
  withRoom,
} from '../jobs/replica-access.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { scratchDraft } from '../restore/scratch-draft.ts';

/*
 * A rehearsal: a tenant is restored beside its file, checked in full, and compared with the file as it was at the same commit. So a
 * replica is known to be sound before it is needed.
 *
 *   the file's content at a moment, and its commit ▸ wait until the store has that commit ▸ restore it ▸ check ▸ compare
 */

/** What is to be rehearsed. */
export interface VerifyRequest {
  readonly place: DataPlace;
  readonly access: ReplicaAccess;
  readonly tenant: string;
  /** Undefined: the newest, compared with the tenant's file where there is one. */
  readonly point?: Point | undefined;
  readonly limits: JobLimits;
  /** How long the store may take to have the file's newest commit. Default: 30,000. */
  readonly waitMs?: number | undefined;
  readonly priority?: 'low' | 'usual' | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a rehearsal found. */
export interface VerifyReport {
  readonly tenant: string;
  readonly ok: boolean;
  /** For people; none where it is sound. */
  readonly problems: readonly string[];
  /** What was restored; 0 where nothing could be. */
  readonly pos: number;
  readonly commitSeq: number;
  /** Whether the file at the same commit had the same content; undefined: there was none to compare with. */
  readonly sameAsFile: boolean | undefined;
  /** Stored bytes that were read, and how long all of it took, ms. */
  readonly bytes: number;
  readonly ms: number;
}

const DEFAULT_WAIT_MS = 30_000;
const POLL_MS = 1_000;

/**
 * Rehearses the restore of a tenant, in a process of low priority.
 * @throws OnewriterError REPLICA_UNAVAILABLE, DATABASE_…, ABORTED, STATEMENT_TIMEOUT, RESULT_TOO_LARGE: nothing is known then
 */
export function verifyTenant(request: VerifyRequest): Promise<VerifyReport> {
  const { place, access, tenant, point, limits, waitMs = DEFAULT_WAIT_MS, priority, signal } = request;
  const job = replicaJob<RehearseArgs>('rehearse', { ...publicAccess(access), point, waitMs });
  return runOneJob({ place, job }, tenant, {
    limits: withRoom(limits),
    env: jobEnv(access),
    priority,
    signal,
  });
}

export interface RehearseArgs extends PublicAccess {
  readonly point: Point | undefined;
  readonly waitMs: number;
}

/** In a process of its own. @throws OnewriterError as {@link verifyTenant} */
export async function rehearse(
  { place, tenant }: Pick<JobContext, 'place' | 'tenant'>,
  { point, waitMs, ...access }: RehearseArgs,
): Promise<VerifyReport> {
  const beganAt = performance.now();
  const replica = await openGivenReplica(access);
  // One name for all tenants: what a killed process left goes with the next rehearsal, also of a tenant that is deleted.
  const draft = scratchDraft(place.dataDir, 'rehearsal');
  const problems: string[] = [];
  let plan: RestorePlan | undefined;
  let sameAsFile: boolean | undefined;
  try {
    const live = point === undefined ? readLive(place, tenant) : undefined;
    const wanted =
      point ?? (live === undefined ? { kind: 'newest' } : { kind: 'commitSeq', commitSeq: live.commitSeq });
    const found = await planOnceStored(replica, tenant, wanted, waitMs);
    plan = found.plan;
    assertRoom(place.dataDir, sizeOf(plan) + SPARE_BYTES);
    await restoreToFile(found.reader, plan, draft.path);
    const restored = readDraft(draft.path);
    problems.push(...restored.problems);
    if (live !== undefined) {
      sameAsFile = restored.hash === live.hash;
      if (!sameAsFile)
        problems.push(`its content at commit ${plan.commitSeq} is another than that of its file`);
    }
  } catch (error) {
    // What the store has is at fault, or lacks: that is a result.
    if (!isOnewriterError(error, 'REPLICA_REFUSED') && !isOnewriterError(error, 'POSITION_UNKNOWN'))
      throw error;
    problems.push(error.message);
  } finally {
    draft.discard();
    await replica.store.close();
  }
  const { pos = 0, commitSeq = 0, bytes = 0 } = plan ?? {};
  const ms = Math.round(performance.now() - beganAt);
  return { tenant, ok: problems.length === 0, problems, pos, commitSeq, sameAsFile, bytes, ms };
}

/** Bytes of the file that is restored. */
function sizeOf({ segments }: RestorePlan): number {
  const { pages, pageSize } = segments.at(-1)!.entry;
  return pages * pageSize;
}

/** The content of the tenant's file at a moment; undefined where there is none, or no broker has written it. */
function readLive(place: DataPlace, tenant: string): { commitSeq: number; hash: string } | undefined {
  const file = findDatabaseFile(tenantFile(place.dataDir, tenant, place.dbFile));
  if (file === undefined) return undefined;
  const db = openReadOnly(file.path, place.busyTimeoutMs);
  try {
    db.exec('BEGIN');
    const state = readState(db);
    return state === undefined ? undefined : { commitSeq: state.commitSeq, hash: hashContent(db) };
  } finally {
    db.close();
  }
}

function readDraft(path: string): { problems: readonly string[]; hash: string } {
  const db = openReadOnly(path, 0);
  try {
    return { problems: checkFile(db).problems, hash: hashContent(db) };
  } finally {
    db.close();
  }
}

/** Waits until the store has what the file has; an older state of it is no fault. @throws OnewriterError POSITION_UNKNOWN */
async function planOnceStored(
  { store, keys }: OpenReplica,
  tenant: string,
  point: Point,
  waitMs: number,
): Promise<{ readonly reader: ReplicaReader; readonly plan: RestorePlan }> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const reader = openReplicaReader(store, keys);
    try {
      return { reader, plan: await reader.plan(tenant, point) };
    } catch (error) {
      if (!isOnewriterError(error, 'POSITION_UNKNOWN') || performance.now() >= deadline) throw error;
    }
    await pause(Math.min(POLL_MS, waitMs));
  }
}
