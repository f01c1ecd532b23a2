import { type DataPlace, type JobContext, runOneJob } from '@onewriter/files';
import {
  jobEnv,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
} from '../jobs/replica-access.ts';
import { type Compacted, type CompactOptions, compactOnce } from './compact-once.ts';

/** A pack that is made (64 MiB, and once more as it is put), what it is made of, the chains of all tenants, and what Node itself takes. */
const MEMORY_BYTES = 2048 * 1024 * 1024;
/** It may be ended anywhere: the next one begins where it ended. */
const TIMEOUT_MS = 30 * 60_000;
/** So many packs at a time: a process that was behind for long says in between what it made. */
const MAX_PACKS = 64;
/** Jobs are of a tenant; this one is of all. No tenant has this name. */
const ALL = '*';

export interface CompactRequest extends Pick<CompactOptions, 'term' | 'retentionMs' | 'signal'> {
  readonly place: DataPlace;
  readonly access: ReplicaAccess;
}

export interface CompactArgs extends PublicAccess, Pick<CompactOptions, 'term' | 'retentionMs'> {}

/**
 * Compacts in a process of low priority.
 * @throws OnewriterError as {@link compactOnce}; ABORTED; STATEMENT_TIMEOUT, after which it is called again
 */
export function compactInProcess({
  place,
  access,
  term,
  retentionMs,
  signal,
}: CompactRequest): Promise<Compacted> {
  const job = replicaJob<CompactArgs>('compact', { ...publicAccess(access), term, retentionMs });
  const limits = { timeoutMs: () => TIMEOUT_MS, memoryBytes: MEMORY_BYTES };
  return runOneJob({ place, job }, ALL, { limits, env: jobEnv(access), signal });
}

/** In a process of its own. @throws as {@link compactOnce} */
export async function compact(
  _: JobContext,
  { term, retentionMs, ...access }: CompactArgs,
): Promise<Compacted> {
  const { store, keys } = await openGivenReplica(access);
  try {
    return await compactOnce({ store, keys, term, retentionMs, nowMs: Date.now(), maxPacks: MAX_PACKS });
  } finally {
    await store.close();
  }
}
