import { dirname, resolve } from 'node:path';
import {
  assertRoom,
  type DataPlace,
  linkWokenFile,
  newDraft,
  openReadOnly,
  readNumbers,
  removeDatabase,
  removeLostDrafts,
} from '@onewriter/files';
import {
  findDatabaseFile,
  forgetHibernated,
  type HibernatedNote,
  isOnewriterError,
  OnewriterError,
  readHibernated,
  tenantFile,
} from '@onewriter/protocol';
import type { LogPosition } from '@onewriter/writer';
import type { OpenReplica } from '../jobs/replica-access.ts';
import { noteClosed } from '../restore/note-closed.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { RestoreSource } from '../restore/stage-replica.ts';
import { readPlace } from './hibernated-place.ts';

/** What is to be brought back. */
export interface WakeRequest {
  readonly tenant: string;
  /** Number of the newest commit that the store has of it, as far as the broker knows; undefined: unknown. */
  readonly storedPos: number | undefined;
}

/** A tenant whose file is here. */
export interface WokenTenant {
  readonly tenant: string;
  readonly bytes: number;
  /** Requests to the store, without those to find it. */
  readonly requests: number;
  readonly ms: number;
}

interface Staged {
  readonly pos: number;
  readonly requests: number;
  readonly end: LogPosition | undefined;
}

/**
 * Puts the file of a hibernated tenant in place, as it was. The caller vouches that no other process does, and that none writes to it.
 * May be killed at any moment: until its file is in place the tenant stays hibernated.
 * @returns undefined where its file is here already
 * @throws OnewriterError TENANT_NOT_FOUND, REPLICA_…, DATABASE_…; the tenant stays hibernated then
 */
export async function wakeTenant(
  replica: OpenReplica,
  place: DataPlace,
  { tenant, storedPos }: WakeRequest,
): Promise<WokenTenant | undefined> {
  const beganAt = performance.now();
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  if (findDatabaseFile(file) !== undefined) {
    forgetHibernated(place.dataDir, tenant);
    return undefined;
  }
  const note = readHibernated(place.dataDir, tenant);
  if (note === undefined)
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} is not hibernated.`, { tenant });
  // Also those of this process: of a thread that was ended.
  removeLostDrafts(file, true);
  const draft = newDraft(place.dataDir, file);
  try {
    const staged =
      (await stagePlace(replica, tenant, note, storedPos, draft.path)) ??
      (await stageNewest(replica, tenant, note, draft.path));
    draft.dress();
    assertSame(place.dataDir, tenant, note);
    linkWokenFile(place, tenant, draft.path, file);
    removeDatabase(draft.path); // what SQLite may have left beside it
    if (staged.end !== undefined) noteClosed(place, tenant, file, staged.pos, staged.end);
    const { bytes } = note;
    return { tenant, bytes, requests: staged.requests, ms: Math.round(performance.now() - beganAt) };
  } catch (error) {
    draft.discard();
    throw error;
  }
}

/** By the note alone. @returns undefined where the store has newer commits, or what the note names is gone */
async function stagePlace(
  { store, keys }: OpenReplica,
  tenant: string,
  note: HibernatedNote,
  storedPos: number | undefined,
  draft: string,
): Promise<Staged | undefined> {
  const place = readPlace(note);
  if (place === undefined || place.pos !== storedPos) return undefined;
  const { pos, segments } = place;
  const last = segments.at(-1)!;
  assertRoom(dirname(draft), last.entry.pages * last.entry.pageSize);
  try {
    await restoreToFile({ store, keys }, { tenant, segments }, draft);
  } catch (error) {
    // Segments are merged, and go an hour later.
    if (isOnewriterError(error, 'REPLICA_REFUSED') && error.details.reason === 'missing segment')
      return undefined;
    throw error;
  }
  assertCommit(tenant, note, readCommit(draft));
  return { pos, requests: segments.length, end: last.cutAt === undefined ? last.entry.end : undefined };
}

/** As a restore does. @throws as {@link RestoreSource.stage} */
async function stageNewest(
  replica: OpenReplica,
  tenant: string,
  note: HibernatedNote,
  draft: string,
): Promise<Staged> {
  const staged = await new RestoreSource(replica).stage(tenant, { kind: 'newest' }, draft);
  assertCommit(tenant, note, staged.commitSeq);
  return staged;
}

/** A store that lost commits has an older file than the one that went. @throws OnewriterError DATABASE_CORRUPT */
function assertCommit(tenant: string, { commitSeq }: HibernatedNote, found: number): void {
  if (found >= commitSeq) return;
  const message = `The replica has commit ${found} of tenant ${tenant} where ${commitSeq} was hibernated. To look at it: onewriter restore ${tenant} --at newest --as <name>.`;
  throw new OnewriterError('DATABASE_CORRUPT', message, { tenant });
}

function readCommit(draft: string): number {
  const db = openReadOnly(draft, 0);
  try {
    return readNumbers(db).commitSeq;
  } finally {
    db.close();
  }
}

/** This process may have been stopped for long: others woke it, wrote to it, and hibernated it again. @throws OnewriterError */
function assertSame(dataDir: string, tenant: string, note: HibernatedNote): void {
  const now = readHibernated(dataDir, tenant);
  if (now !== undefined && now.since === note.since && now.commitSeq === note.commitSeq) return;
  const message = `Tenant ${tenant} was changed while its file came from the replica.`;
  throw new OnewriterError('TENANT_UNAVAILABLE', message, { tenant });
}
