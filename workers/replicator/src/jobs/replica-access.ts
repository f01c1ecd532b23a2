import type { CallJob, JobLimits } from '@onewriter/files';
import { Keyring, type Keyring as Keys, type TenantKeys } from '../format/keyring.ts';
import { openStore } from '../store/open-store.ts';
import type { OpenStore } from '../store/store-watch.ts';

/** How a replica is reached, from this process or from one of its jobs. */
export interface ReplicaAccess {
  /** Of one store. */
  readonly url: string;
  /** Secret; as of {@link Keyring}. */
  readonly masterKeys: readonly string[];
  readonly keys: 'one' | 'tenant';
}

/** What of it may stand in the arguments of a process. */
export type PublicAccess = Omit<ReplicaAccess, 'masterKeys'>;

/** A replica that was reached; to be closed. */
export interface OpenReplica {
  readonly store: OpenStore;
  readonly keys: Keys;
}

/** Variables by which a process of jobs reaches a store. */
const STORE_VARIABLES = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_REGION',
  'AWS_DEFAULT_REGION',
  'AWS_ENDPOINT_URL_S3',
  'AWS_ENDPOINT_URL',
];
const MIN_MEMORY_BYTES = 1024 * 1024 * 1024;
/** Master keys for such a process, by comma. */
const MASTER_KEYS = 'ONEWRITER_REPLICA_MASTER_KEYS';
/** From the sources as from what is built of them. */
const JOBS = new URL('../../dist/jobs/replica-jobs.js', import.meta.url).href;

/** @throws OnewriterError MISCONFIGURED, REPLICA_REFUSED */
export async function openReplica(
  { url, masterKeys, keys }: ReplicaAccess,
  known?: readonly TenantKeys[] | undefined,
): Promise<OpenReplica> {
  const store = await openStore(url);
  return { store, keys: new Keyring({ masterKeys, keys, store, known }) };
}

/** Opens several at a time, for as long as `work` takes. @throws as {@link openReplica}, and what `work` throws */
export async function withReplicas<T>(
  accesses: readonly ReplicaAccess[],
  work: (replicas: readonly OpenReplica[]) => Promise<T>,
): Promise<T> {
  const replicas: OpenReplica[] = [];
  try {
    for (const access of accesses) replicas.push(await openReplica(access));
    return await work(replicas);
  } finally {
    await Promise.all(replicas.map(({ store }) => store.close()));
  }
}

/** In a process of jobs. @throws as {@link openReplica} */
export function openGivenReplica(
  access: PublicAccess,
  known?: readonly TenantKeys[] | undefined,
): Promise<OpenReplica> {
  const given = process.env[MASTER_KEYS] ?? '';
  return openReplica({ ...access, masterKeys: given === '' ? [] : given.split(',') }, known);
}

/** The environment of a process of jobs, which has what is secret. */
export function jobEnv({ masterKeys }: ReplicaAccess): Readonly<Record<string, string | undefined>> {
  const variables = STORE_VARIABLES.map(name => [name, process.env[name]] as const);
  return { ...Object.fromEntries(variables), [MASTER_KEYS]: masterKeys.join() };
}

/** A job of a process that knows this package. @param name of a function of `replica-jobs.ts` */
export function replicaJob<A extends PublicAccess>(name: string, args: A, draft?: string): CallJob {
  return { kind: 'call', module: JOBS, name, args, draft };
}

/**
 * At least what segments take while they are read, made and written, and the chains of all tenants, for which half of it is the heap:
 * 10,000 chains of 32 segments take 200 MB.
 */
export function withRoom(limits: JobLimits): JobLimits {
  return { ...limits, memoryBytes: Math.max(limits.memoryBytes, MIN_MEMORY_BYTES) };
}

/** Without what is secret. */
export function publicAccess({ url, keys }: ReplicaAccess): PublicAccess {
  return { url, keys };
}
