import { resolve } from 'node:path';
import { type DataPlace, type JobLimits, runOneJob, takeAwayFile } from '@onewriter/files';
import {
  findDatabaseFile,
  forgetHibernated,
  type HibernatedNote,
  isOnewriterError,
  OnewriterError,
  readHibernated,
  tenantFile,
} from '@onewriter/protocol';
import { type HeldTenant, withHeldTenant } from '@onewriter/tenants';
import type { FileMark } from '@onewriter/writer';
import type { Redis } from 'ioredis';
import { jobEnv, publicAccess, type ReplicaAccess, replicaJob, withRoom } from '../jobs/replica-access.ts';
import { isSameMark } from '../ship/continues.ts';
import { marksOf, type ProofArgs, type StoredProof } from './prove-stored.ts';
import { putNote } from './put-note.ts';

/*
 * Hibernation: a tenant's file goes, and lies in the replica.
 *
 *   it is read out of the store, and is byte for byte the one that is here ▸ the broker closes the file ▸ it is still the same ▸ a note of where
 *   it lies ▸ its path is removed ▸ tombstone for those who have it open ▸ it is removed
 *
 * A file that changes as it is closed, or whose log its last broker left beside it, is proved again while it is held. Until the note is
 * written nothing has changed; where a process dies behind it, the file counts as long as it is there.
 */

/** Which tenant is to be hibernated. */
export interface HibernateRequest {
  readonly access: ReplicaAccess;
  readonly redis: Redis;
  readonly tenant: string;
  readonly who: string;
  readonly reason: string;
  readonly limits: JobLimits;
  /** Only where its writes need not wait for a proof: it is idle, and closed already. Default: false. */
  readonly ifIdle?: boolean | undefined;
  /** Also where writes wait: they bring it back at once. Default: false. */
  readonly force?: boolean | undefined;
  /** Asks the broker for a replica in one piece. */
  readonly shorten?: (() => void) | undefined;
  readonly priority?: 'low' | 'usual' | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How long the store may take to have the newest commit, and then to have the file in few pieces. */
const EARLY_WITHIN_MS = 3_000;
const WHOLE_WITHIN_MS = 10_000;
const HELD_WITHIN = Object.freeze({ storedWithinMs: 30_000, wholeWithinMs: WHOLE_WITHIN_MS, isHeld: true });
/** Whether writes came, while they wait. */
const WATCH_EVERY_MS = 100;

/**
 * @returns undefined where it is hibernated already
 * @throws OnewriterError TENANT_NOT_FOUND; TENANT_BUSY where writes wait; REPLICA_… where the store has not all of it; TENANT_UNAVAILABLE,
 * ABORTED, DATABASE_…. Nothing has changed then.
 */
export async function hibernateTenant(
  place: DataPlace,
  request: HibernateRequest,
): Promise<HibernatedNote | undefined> {
  const { redis, tenant, who, reason, signal } = request;
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  if (findDatabaseFile(file) === undefined) {
    if (readHibernated(place.dataDir, tenant) !== undefined) return undefined;
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file.`, { tenant });
  }
  request.shorten?.();
  const early = await proveEarly(place, request);
  const hold = { name: 'hibernate', who, reason, exclusive: true } as const;
  return withHeldTenant(redis, place.group, tenant, hold, async held => {
    await assertIdle(held, request);
    const proof =
      early !== undefined && isUnchanged(file, early) ? early : await proveHeld(place, request, held);
    if (signal?.aborted)
      throw new OnewriterError('ABORTED', 'It was stopped; nothing has changed.', { tenant });
    await held.beginChange();
    const { commitSeq, bytes, place: stored } = proof;
    const note: HibernatedNote = { commitSeq, bytes, since: new Date().toISOString(), who, place: stored };
    takeAway(place, tenant, file, proof, note);
    return note;
  });
}

function takeAway(
  place: DataPlace,
  tenant: string,
  file: string,
  proof: StoredProof,
  note: HibernatedNote,
): void {
  const { dataDir } = place;
  try {
    takeAwayFile(place, tenant, () => {
      if (!isUnchanged(file, proof)) throw changed(tenant);
      putNote(dataDir, tenant, note);
    });
  } catch (error) {
    // Where it is in its place it counts, and a note of it would only be old one day.
    if (findDatabaseFile(file) !== undefined) forgetHibernated(dataDir, tenant);
    throw error;
  }
}

/** While it may be written; undefined where that shows nothing. @throws where it has to be idle, as {@link hibernateTenant} */
async function proveEarly(place: DataPlace, request: HibernateRequest): Promise<StoredProof | undefined> {
  const { ifIdle, shorten, signal } = request;
  const wholeWithinMs = shorten === undefined ? 0 : WHOLE_WITHIN_MS;
  try {
    return await prove(place, request, { storedWithinMs: EARLY_WITHIN_MS, wholeWithinMs }, signal);
  } catch (error) {
    // A file that is written is never all stored: it is proved once it is held.
    const isWritten =
      isOnewriterError(error, 'REPLICA_REFUSED') || isOnewriterError(error, 'REPLICA_UNAVAILABLE');
    if (ifIdle || !isWritten) throw error;
    return undefined;
  }
}

/** Its writes wait; one that comes stops it. @throws OnewriterError TENANT_BUSY */
async function proveHeld(
  place: DataPlace,
  request: HibernateRequest,
  held: HeldTenant,
): Promise<StoredProof> {
  const { tenant, ifIdle, signal } = request;
  if (ifIdle) throw changed(tenant);
  const stop = new AbortController();
  const watch = setInterval(() => {
    // What Redis does not answer shows at the next look, and before anything changes.
    assertIdle(held, request).catch(error => stop.abort(error));
  }, WATCH_EVERY_MS);
  try {
    return await prove(place, request, HELD_WITHIN, AbortSignal.any([stop.signal, signal ?? stop.signal]));
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    clearInterval(watch);
  }
}

function prove(
  place: DataPlace,
  { access, tenant, limits, priority }: HibernateRequest,
  within: Pick<ProofArgs, 'storedWithinMs' | 'wholeWithinMs' | 'isHeld'>,
  signal: AbortSignal | undefined,
): Promise<StoredProof> {
  const args: ProofArgs = { ...publicAccess(access), ...within };
  const job = replicaJob<ProofArgs>('proveStored', args);
  return runOneJob<StoredProof>({ place, job }, tenant, {
    ...{ limits: withRoom(limits), env: jobEnv(access), priority, signal },
  });
}

/** @throws OnewriterError TENANT_BUSY */
async function assertIdle(
  held: HeldTenant,
  { tenant, force }: Pick<HibernateRequest, 'tenant' | 'force'>,
): Promise<void> {
  if (force) return;
  const jobs = await held.countJobs();
  if (jobs === 0) return;
  const message = `Writes of tenant ${tenant} wait: it is not hibernated.`;
  throw new OnewriterError('TENANT_BUSY', message, { tenant, jobs });
}

/** Whether neither the file nor its log was written since: a log that was written back by others leaves none. */
function isUnchanged(path: string, { marks }: StoredProof): boolean {
  const file = findDatabaseFile(path)?.path ?? path;
  const [main, log] = marksOf(file);
  return isSame(main, marks[0]) && (log === undefined || isSame(log, marks[1]));
}

/** A mark that came from a process is null where there was no file. */
function isSame(one: FileMark | undefined, other: FileMark | null | undefined): boolean {
  return one !== undefined && other ? isSameMark(one, other) : (one ?? null) === (other ?? null);
}

function changed(tenant: string): OnewriterError {
  const message = `The file of tenant ${tenant} was written meanwhile: it is not hibernated.`;
  return new OnewriterError('TENANT_BUSY', message, { tenant, reason: 'the file changed' });
}
