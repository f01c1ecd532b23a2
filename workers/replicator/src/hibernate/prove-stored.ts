import { open } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { assertRoom, type JobContext, openReadOnly, readState, SPARE_BYTES } from '@onewriter/files';
import { findDatabaseFile, isOnewriterError, OnewriterError, tenantFile } from '@onewriter/protocol';
import { type FileMark, markOf } from '@onewriter/writer';
import { openReplicaReader, type ReplicaReader, type RestorePlan } from '../chain/replica-reader.ts';
import { type OpenReplica, openGivenReplica, type PublicAccess } from '../jobs/replica-access.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { scratchDraft } from '../restore/scratch-draft.ts';
import { FEW_SEGMENTS, type HibernatedPlace, placeOf } from './hibernated-place.ts';
import { writeBackLog } from './write-back-log.ts';

export interface ProofArgs extends PublicAccess {
  /** How long the store may take to have the file's newest commit. */
  readonly storedWithinMs: number;
  /** How long to wait then for a file in few pieces. */
  readonly wholeWithinMs: number;
  /** The tenant is held: a log that its broker left is written back. Default: false. */
  readonly isHeld?: boolean | undefined;
}

/** The store gives back the very file that is here. */
export interface StoredProof {
  readonly commitSeq: number;
  readonly bytes: number;
  /** Of the file, and of its log where one is left. */
  readonly marks: readonly (FileMark | undefined)[];
  readonly place: HibernatedPlace | undefined;
}

const POLL_MS = 500;
const CHUNK_BYTES = 1024 * 1024;

/**
 * Restores the newest state of a tenant beside its file, which is closed, and compares both byte by byte. In a process of its own.
 * @throws OnewriterError REPLICA_UNAVAILABLE where the store has not all of it in time; REPLICA_REFUSED where it has something else
 */
export async function proveStored(
  { place, tenant }: Pick<JobContext, 'place' | 'tenant'>,
  { storedWithinMs, wholeWithinMs, isHeld = false, ...access }: ProofArgs,
): Promise<StoredProof> {
  const file = findDatabaseFile(tenantFile(place.dataDir, tenant, place.dbFile))?.path;
  if (file === undefined)
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file.`, { tenant });
  const numbers = readClosed(file, tenant, place.busyTimeoutMs);
  // Only now: a connection that is closed last may remove the log.
  let marks = marksOf(file);
  const replica = await openGivenReplica(access);
  const draft = scratchDraft(place.dataDir, `hibernate-${tenant}`);
  try {
    const { reader, plan } = await planStored(replica, tenant, numbers, storedWithinMs, wholeWithinMs);
    if (isHeld && marks[1] !== undefined) {
      await writeBackLog(place, tenant, file, plan);
      marks = marksOf(file);
    }
    const bytes = marks[0]!.size;
    assertRoom(place.dataDir, bytes + SPARE_BYTES);
    await restoreToFile(reader, plan, draft.path);
    if (!(await isSameBytes(file, draft.path))) {
      const message = `The replica of tenant ${tenant} at commit ${numbers.commitSeq} is not its file: onewriter replica verify ${tenant}`;
      throw new OnewriterError('REPLICA_REFUSED', message, { tenant, reason: 'not the file' });
    }
    return { commitSeq: numbers.commitSeq, bytes, marks, place: placeOf(plan) };
  } finally {
    draft.discard();
    await replica.store.close();
  }
}

/** Of a file and of its log. What changes either changes its mark; those who only read make and remove an empty log. */
export function marksOf(file: string): StoredProof['marks'] {
  const log = markOf(`${file}-wal`);
  return [markOf(file), log?.size === 0 ? undefined : log];
}

interface ClosedNumbers {
  readonly commitSeq: number;
  readonly epoch: number;
}

/** @throws OnewriterError TENANT_UNAVAILABLE where no broker has written to it */
function readClosed(file: string, tenant: string, busyTimeoutMs: number): ClosedNumbers {
  const db = openReadOnly(file, busyTimeoutMs);
  try {
    const state = readState(db);
    if (state !== undefined) return state;
    const message = `No broker has written to the file of tenant ${tenant} yet.`;
    throw new OnewriterError('TENANT_UNAVAILABLE', message, { tenant, reason: 'not written yet' });
  } finally {
    db.close();
  }
}

async function planStored(
  { store, keys }: OpenReplica,
  tenant: string,
  { commitSeq, epoch }: ClosedNumbers,
  storedWithinMs: number,
  wholeWithinMs: number,
): Promise<{ readonly reader: ReplicaReader; readonly plan: RestorePlan }> {
  const beganAt = performance.now();
  let wholeUntil: number | undefined;
  for (;;) {
    const reader = openReplicaReader(store, keys);
    const plan = await planNewest(reader, tenant);
    const isStored =
      plan !== undefined && plan.commitSeq === commitSeq && plan.segments.at(-1)!.entry.epoch === epoch;
    const now = performance.now();
    if (isStored) {
      wholeUntil ??= now + wholeWithinMs;
      if (plan.segments.length <= FEW_SEGMENTS || now >= wholeUntil) return { reader, plan };
    } else if (now - beganAt >= storedWithinMs) {
      const message = `The replica does not have commit ${commitSeq} of tenant ${tenant} yet.`;
      throw new OnewriterError('REPLICA_UNAVAILABLE', message, { tenant, reason: 'not stored yet' });
    }
    await pause(POLL_MS);
  }
}

async function planNewest(reader: ReplicaReader, tenant: string): Promise<RestorePlan | undefined> {
  try {
    return await reader.plan(tenant, { kind: 'newest' });
  } catch (error) {
    if (isOnewriterError(error, 'POSITION_UNKNOWN')) return undefined;
    throw error;
  }
}

async function isSameBytes(one: string, other: string): Promise<boolean> {
  const files = await Promise.all([open(one, 'r'), open(other, 'r')]);
  try {
    const [a, b] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
    for (let at = 0; ; ) {
      const [left, right] = await Promise.all([read(files[0], a, at), read(files[1], b, at)]);
      if (left !== right || !a.subarray(0, left).equals(b.subarray(0, right))) return false;
      if (left === 0) return true;
      at += left;
    }
  } finally {
    await Promise.all(files.map(file => file.close()));
  }
}

/** @returns how many bytes; 0 at the end */
async function read(file: Awaited<ReturnType<typeof open>>, into: Buffer, at: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
