import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type DataPlace, type JobContext, runOneJob } from '@onewriter/files';
import type { TenantKeys } from '../format/keyring.ts';
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

/** What it has from its leader. */
type LeaderFacts = Required<Pick<CompactOptions, 'term' | 'retentionMs' | 'elapsedMs'>>;

export interface CompactRequest extends LeaderFacts, Pick<CompactOptions, 'signal'> {
  readonly place: DataPlace;
  readonly access: ReplicaAccess;
  /** Keys of tenants that are known already, as they are stored: each costs a request otherwise. */
  readonly tenantKeys: readonly TenantKeys[];
}

export interface CompactArgs extends PublicAccess, LeaderFacts {
  /** A file with `tenantKeys`: those of ten thousand tenants are too long for the arguments of a process. */
  readonly keysFile: string | undefined;
}

/**
 * Compacts in a process of low priority.
 * @throws OnewriterError as {@link compactOnce}; ABORTED; STATEMENT_TIMEOUT, after which it is called again
 */
export async function compactInProcess(request: CompactRequest): Promise<Compacted> {
  const { place, access, term, retentionMs, elapsedMs, tenantKeys, signal } = request;
  const path = join(place.dataDir, 'replica', 'tenant-keys.json');
  const keysFile = tenantKeys.length === 0 ? undefined : path;
  if (keysFile !== undefined) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, JSON.stringify(tenantKeys), { mode: 0o600 });
  }
  try {
    const args = { ...publicAccess(access), term, retentionMs, elapsedMs, keysFile };
    const job = replicaJob<CompactArgs>('compact', args);
    const limits = { timeoutMs: () => TIMEOUT_MS, memoryBytes: MEMORY_BYTES };
    return await runOneJob({ place, job }, ALL, { limits, env: jobEnv(access), signal });
  } finally {
    // That of a process that was killed, too: keys in it may be erased since.
    rmSync(path, { force: true });
  }
}

/** In a process of its own. @throws as {@link compactOnce} */
export async function compact(
  _: JobContext,
  { keysFile, term, retentionMs, elapsedMs, ...access }: CompactArgs,
): Promise<Compacted> {
  const known = keysFile && (JSON.parse(readFileSync(keysFile, 'utf8')) as readonly TenantKeys[]);
  const { store, keys } = await openGivenReplica(access, known || undefined);
  try {
    const nowMs = Date.now();
    return await compactOnce({ store, keys, term, retentionMs, elapsedMs, nowMs, maxPacks: MAX_PACKS });
  } finally {
    await store.close();
  }
}
