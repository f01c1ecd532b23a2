import { existsSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type DataPlace,
  defaultJobs,
  flush,
  giveTo,
  type JobContext,
  type JobLimits,
  type MadeTenant,
  makeFolder,
  makeTenant,
  ownerIn,
  runInProcesses,
} from '@onewriter/files';
import {
  isHibernated,
  OnewriterError,
  realDatabasePath,
  replicaSourceFile,
  tenantFile,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import { markOf } from '@onewriter/writer';
import { openReplicaReader } from '../chain/replica-reader.ts';
import { type PackId, packKey, type SegmentEntry } from '../format/entry.ts';
import type { NotedTenant, NoteMissingArgs } from '../hibernate/note-missing.ts';
import {
  jobEnv,
  openGivenReplica,
  openReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
  withRoom,
} from '../jobs/replica-access.ts';
import { CloseNotes } from '../ship/close-notes.ts';
import { isSameMark } from '../ship/continues.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { noteClosed } from './note-closed.ts';
import { RestoreSource, type StagedReplica } from './stage-replica.ts';

/*
 * Restores all tenants of a store that a data directory does not have. Each is put in place as soon as it is checked, so that an attempt
 * that was stopped, or failed for some, begins again with the rest.
 */

/** Which tenants are to be restored. */
export interface RestoreAllRequest {
  readonly access: ReplicaAccess;
  /** Of a running stack; undefined: the caller vouches that no broker runs. */
  readonly redisUrl: string | undefined;
  readonly who: string;
  readonly limits: JobLimits;
  /** Notes them as hibernated instead: nothing is fetched, and each comes when it is used. Default: false. */
  readonly hibernated?: boolean | undefined;
  /** Processes that work at a time, at most. Default: by the machine. */
  readonly jobs?: number | undefined;
  readonly priority?: 'low' | 'usual' | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called first with no tenant, then once for each. */
  readonly onProgress?: ((progress: RestoreAllProgress) => void) | undefined;
}

export interface RestoreAllProgress {
  readonly done: number;
  readonly total: number;
  readonly tenant?: string | undefined;
  readonly error?: WireError | undefined;
}

/** One tenant of it. */
export type RestoredTenant = MadeTenant &
  Omit<StagedReplica, 'numbers' | 'end'> & { readonly tenant: string };

export interface RestoreAllReport {
  readonly restored: readonly RestoredTenant[];
  /** They have a note instead of a file. */
  readonly hibernated: readonly (NotedTenant & { readonly tenant: string })[];
  /** They had a file already, which was left as it is. */
  readonly present: readonly string[];
  readonly failed: readonly { readonly tenant: string; readonly error: WireError }[];
  /** About the data directory, besides those of each tenant. */
  readonly warnings: readonly string[];
}

/** Where a data directory came from, so that its broker may go on to write to that store. */
export interface ReplicaSource {
  readonly url: string;
  readonly dataDirId: string;
}

/** @throws OnewriterError REPLICA_…, ABORTED, INTERNAL; the tenants that are restored by then stay */
export async function restoreAll(place: DataPlace, request: RestoreAllRequest): Promise<RestoreAllReport> {
  const { access, redisUrl, who, limits, jobs = defaultJobs(), priority, signal, onProgress } = request;
  const toHibernated = request.hibernated ?? false;
  const { store, keys } = await openReplica(access);
  try {
    const reader = openReplicaReader(store, keys, { signal });
    const [{ damaged }, entries] = [await reader.state(), await reader.tenants()];
    const stored = entries
      .filter(({ kind }) => kind !== 'deleted')
      .sort((a, b) => compare(a.tenant, b.tenant));
    const [present, missing] = [[], []] as [string[], string[]];
    const failed: { tenant: string; error: WireError }[] = [];
    for (const { tenant, max } of stored) {
      const file = tenantFile(place.dataDir, tenant, place.dbFile);
      if (isHibernated(place.dataDir, tenant)) present.push(tenant);
      else if (!existsSync(file)) missing.push(tenant);
      else if (isOlderRestore(place, tenant, max)) failed.push(behind(tenant, file));
      else present.push(tenant);
    }
    const sizes = new Map(stored.map(({ tenant, pages, pageSize }) => [tenant, pages * pageSize]));
    const restored: RestoredTenant[] = [];
    const hibernated: (NotedTenant & { readonly tenant: string })[] = [];
    const total = missing.length;
    let done = 0;
    onProgress?.({ done, total });
    await runInProcesses<Omit<RestoredTenant, 'tenant'> | NotedTenant>(
      {
        place,
        job: replicaJob<RestoreMissingArgs | NoteMissingArgs>(
          toHibernated ? 'noteMissing' : 'restoreMissing',
          { ...publicAccess(access), who },
        ),
      },
      missing,
      {
        jobs,
        limits: withRoom(limits),
        priority,
        signal,
        redisUrl,
        env: jobEnv(access),
        bytesOf: tenant => (toHibernated ? 0 : (sizes.get(tenant) ?? 0)),
      },
      (tenant, outcome) => {
        if ('error' in outcome) failed.push({ tenant, error: outcome.error });
        else if ('file' in outcome.result) restored.push({ ...outcome.result, tenant });
        else hibernated.push({ ...outcome.result, tenant });
        const error = 'error' in outcome ? outcome.error : undefined;
        onProgress?.({ done: ++done, total, tenant, error });
      },
    );
    // What comes of a hibernated one is the newest, whatever its note says.
    const settled = new Set([...present, ...[...failed, ...hibernated].map(({ tenant }) => tenant)]);
    const newest = await openReplicaReader(store, keys, { signal }).tenants();
    failed.push(...findBehind(newest, restored, settled));
    // Not before all are here: a broker that writes to the store would begin those again that are missing.
    const noted = failed.length === 0 ? await noteSource(store, access.url, place.dataDir) : [];
    return { restored, hibernated, present, failed, warnings: [...damaged.map(warnOf), ...noted] };
  } finally {
    await store.close();
  }
}

function warnOf(pack: PackId): string {
  return `${packKey(pack)} of the replica cannot be read: tenants with commits in it are as they were before.`;
}

/** Tenants of which the store has more than was restored: a broker still writes to it, and those commits would be missing here. */
function findBehind(
  newest: readonly SegmentEntry[],
  restored: readonly RestoredTenant[],
  settled: ReadonlySet<string>,
): RestoreAllReport['failed'] {
  const made = new Map(restored.map(each => [each.tenant, each]));
  return newest
    .filter(({ tenant, kind, max }) => {
      return kind !== 'deleted' && !settled.has(tenant) && max > (made.get(tenant)?.pos ?? 0);
    })
    .map(({ tenant }) => behind(tenant, made.get(tenant)?.file));
}

/** @param file that has to go first */
function behind(tenant: string, file: string | undefined): RestoreAllReport['failed'][number] {
  const remedy = file === undefined ? '' : ` remove ${dirname(file)},`;
  const message = `Tenant ${tenant} was written after it was restored: a broker still wrote to the store. Stop it,${remedy} and restore again.`;
  return { tenant, error: toWireError(new OnewriterError('REPLICA_FENCED', message, { tenant })) };
}

/** Whether a file is as a restore left it, and the store has more: the tenant is not here yet. */
function isOlderRestore({ dataDir, dbFile }: DataPlace, tenant: string, newest: number): boolean {
  const note = new CloseNotes(dataDir).read(tenant);
  if (note === undefined || note.pos >= newest) return false;
  const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
  // What is written here lies in the log first. Before the mark: a log is emptied only after the file has what it had.
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return false;
  const mark = markOf(path);
  return mark !== undefined && isSameMark(note.mark, mark);
}

export interface RestoreMissingArgs extends PublicAccess {
  readonly who: string;
}

/** The state of the store is read once for all tenants of a process. */
let opened: Promise<RestoreSource> | undefined;

/** In a process of its own, for one tenant after the other. @throws OnewriterError about the tenant */
export async function restoreMissing(
  { place, tenant, redis }: Omit<JobContext, 'onProgress'>,
  { who, ...access }: RestoreMissingArgs,
): Promise<Omit<RestoredTenant, 'tenant'>> {
  opened ??= openGivenReplica(access).then(replica => new RestoreSource(replica));
  const source = await opened;
  let staged: StagedReplica | undefined;
  const reason = 'restored from the replica';
  const made = await makeTenant(place, tenant, { redis, who, reason, goesOn: true }, async draft => {
    staged = await source.stage(tenant, { kind: 'newest' }, draft);
    return staged;
  });
  const { numbers: _, end, ...rest } = staged!;
  const warnings = end === undefined ? [] : noteClosed(place, tenant, made.file, rest.pos, end);
  return { ...rest, ...made, warnings: [...made.warnings, ...warnings] };
}

/** The identity of the data directory whose tenants a replica has; undefined where it names none. @throws OnewriterError REPLICA_… */
export async function readStoredIdentity(access: ReplicaAccess): Promise<string | undefined> {
  const { store } = await openReplica(access);
  try {
    return await readIdentityIn(store);
  } finally {
    await store.close();
  }
}

async function readIdentityIn(store: ObjectStore): Promise<string | undefined> {
  const leader = await store.get('leader.json');
  if (leader === undefined) return undefined;
  const { dataDirId } = JSON.parse(leader.body.toString()) as Partial<ReplicaSource>;
  if (typeof dataDirId === 'string') return dataDirId;
  throw new OnewriterError('REPLICA_REFUSED', 'leader.json names no data directory.');
}

/** Notes which store a data directory was made from, for its broker. @returns warnings @throws Error of the file system */
async function noteSource(store: ObjectStore, url: string, dataDir: string): Promise<readonly string[]> {
  const dataDirId = await readIdentityIn(store);
  if (dataDirId === undefined) return [];
  const path = replicaSourceFile(dataDir);
  const folder = dirname(path);
  const owner = ownerIn(dataDir);
  const warnings: string[] = [];
  makeFolder(folder, owner, warnings);
  writeFileSync(`${path}.draft`, JSON.stringify({ url, dataDirId } satisfies ReplicaSource), { flush: true });
  giveTo(`${path}.draft`, owner, warnings);
  renameSync(`${path}.draft`, path);
  flush(folder);
  return warnings;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
