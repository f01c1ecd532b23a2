import { assertTenantId, TENANT_ID_PATTERN } from './tenant-id.ts';

/*
 * Names of everything that two parts must find: queues, Redis keys, files.
 *
 *   tenant queue   BullMQ queue `tenant.<tenant>`, prefix `ow:<group>:{<tenant>}`
 *   client inbox   BullMQ queue `inbox.<client>`,  prefix `ow:<group>:{<client>}`
 *   client present `ow:<group>:{<client>}:present`
 *   dead letters   BullMQ queue `dead-letters`,    prefix `ow:{<group>}`
 *   per group      `ow:{<group>}:notifications|tenants|open|lease|epoch|…`
 *
 * The braces are Redis Cluster hash tags: all keys of one tenant share a slot, and so do all keys of a group.
 * A placement group is one host's files, led by one broker.
 */

/** The placement group used when none is configured. */
export const DEFAULT_GROUP = 'default';

/** File name of a tenant's database when none is configured. */
export const DEFAULT_DB_FILE = 'tenant.db';

/** Prefix of every Onewriter table in a tenant's file; SQLite reserves `sqlite_` (ADR 0057). */
export const INTERNAL_TABLE_PREFIX = 'sqlite_onewriter_';

/** The same up to format 2. */
export const FORMER_TABLE_PREFIX = '_onewriter_';

/** The custom event on a client's inbox that reports a job's outcome. */
export const SETTLED_EVENT = 'settled';

/** A BullMQ queue: its name, and the prefix to open it with. */
export interface QueueAddress {
  readonly name: string;
  readonly prefix: string;
}

/** The queue that holds a tenant's writes. */
export function tenantQueue(group: string, tenant: string): QueueAddress {
  return { name: `tenant.${tenant}`, prefix: `ow:${group}:{${tenant}}` };
}

/** The queue whose event stream is a client's inbox. */
export function inboxQueue(group: string, client: string): QueueAddress {
  return { name: `inbox.${client}`, prefix: `ow:${group}:{${client}}` };
}

/** The queue of writes that were set aside. */
export function deadLetterQueue(group: string): QueueAddress {
  return { name: 'dead-letters', prefix: `ow:{${group}}` };
}

/** Redis key of a queue's event stream. Source: BullMQ's key layout, `<prefix>:<queue>:events`. */
export function eventsKey(queue: QueueAddress): string {
  return `${queue.prefix}:${queue.name}:events`;
}

/** Redis key of the answer to a job that no ledger has: steps of a transaction that is open. It has a short life. */
export function answerKey(group: string, tenant: string, jobId: string): string {
  const { prefix, name } = tenantQueue(group, tenant);
  return `${prefix}:${name}:${jobId}:answer`;
}

/**
 * Redis key that a client keeps alive while it is there, from its first interactive transaction on (LIMITS.presenceTtlMs):
 * a transaction is neither begun nor kept open for a client that is gone.
 */
export function presenceKey(group: string, client: string): string {
  return `ow:${group}:{${client}}:present`;
}

/** Redis keys shared by a placement group. */
export interface GroupKeys {
  /** Sorted set of tenants with work, by the time of the first notification (ms). The broker pops it. */
  readonly notifications: string;
  /** Sorted set of all tenants ever seen, by last activity (ms). The sweep walks it, the dashboard lists it. */
  readonly tenants: string;
  /** Set of tenants the leading broker has open; a successor reclaims their active jobs. */
  readonly open: string;
  /** String with a TTL: the leader's {@link LeaseRecord} as JSON. */
  readonly lease: string;
  /** Integer: the last epoch given out. */
  readonly epoch: string;
  /** String: the DataDirRecord of the data directory that the group belongs to, as JSON. */
  readonly dataDir: string;
  /** Hash, tenant to JSON: tenants that cannot be opened, and why. */
  readonly parked: string;
  /** Stream of what admins did, newest last. */
  readonly audit: string;
  /** Sorted set of operations by the time they were added, and prefix of their records (hashes) and logs (lists). */
  readonly operations: string;
  /** Prefix of the dashboard's sessions: strings with a TTL, encrypted. */
  readonly sessions: string;
  /** Hash, revocation to its time: a copy of the data directory's revoked tokens. */
  readonly revoked: string;
  /** Hash, job id to crash count: how often the process ended while the job was active. */
  readonly starts: string;
  /** Hash, job id to JSON: poisoned operations, which must not run again, and the error their callers get. */
  readonly poisoned: string;
  /** Hash, tenant to JSON: tenants whose writes had a process replaced, when and how often; see Offenders. */
  readonly backOff: string;
  /** Hash, tenant to Durability: those that differ from ONEWRITER_REPLICA_MODE. */
  readonly durabilities: string;
  /** Prefix of BranchRequest and its answer, by the new tenant: strings with a TTL. */
  readonly branches: string;
  /** Hash, epoch to time (ms): when its process was replaced because of writes; see ReplacementBudget. */
  readonly replacements: string;
  /** Hash with a TTL, `strings:<tenant>` or `ddl:<tenant>` to a count: what drop-in clients need a setting for. */
  readonly dropInUses: string;
  /** String with a TTL: the leader's BrokerStatus as JSON. */
  readonly status: string;
  /** Hash with a TTL, broker id to BrokerRecord as JSON: the leader and its standbys. */
  readonly brokers: string;
  /** String: an id of this Redis, by which brokers of one data directory see that they have two; see LedFrom. */
  readonly redisId: string;
}

/** The {@link GroupKeys} of a group. */
export function groupKeys(group: string): GroupKeys {
  const key = (part: string) => `ow:{${group}}:${part}`;
  return {
    notifications: key('notifications'),
    tenants: key('tenants'),
    open: key('open'),
    lease: key('lease'),
    epoch: key('epoch'),
    dataDir: key('data-dir'),
    parked: key('parked'),
    audit: key('audit'),
    operations: key('operations'),
    revoked: key('revoked'),
    sessions: key('session'),
    starts: key('starts'),
    poisoned: key('poisoned'),
    backOff: key('back-off'),
    durabilities: key('replica:modes'),
    branches: key('replica:branch'),
    replacements: key('replacements'),
    dropInUses: key('drop-in-uses'),
    status: key('status'),
    brokers: key('brokers'),
    redisId: key('redis-id'),
  };
}

const RELEASE_PREFIX = 'release:';

/** The notification that asks the leader to check a tenant's holds; no tenant id has a colon. */
export function releaseNotification(tenant: string): string {
  return `${RELEASE_PREFIX}${assertTenantId(tenant)}`;
}

/** The tenant of a {@link releaseNotification}; undefined for any other notification. */
export function readReleaseNotification(notification: string): string | undefined {
  if (!notification.startsWith(RELEASE_PREFIX)) return undefined;
  const tenant = notification.slice(RELEASE_PREFIX.length);
  return TENANT_ID_PATTERN.test(tenant) ? tenant : undefined;
}

/** What the leader writes into the lease key. */
export interface LeaseRecord {
  readonly broker: string;
  readonly epoch: number;
  readonly host: string;
  /** Boot and process namespace: where two of these are equal, process ids can be compared; '' where unknown. */
  readonly processes: string;
  readonly pid: number;
  /** Id and place of its data directory; absent in records of older brokers. */
  readonly dataDir?: { readonly id: string; readonly path: string } | undefined;
  /** ISO time of acquisition. */
  readonly since: string;
  /** Life of the lease in ms. Absent in those of older brokers, as {@link renewals}. */
  readonly leaseMs?: number | undefined;
  /** Grows with each renewal: a record that stays the same for {@link leaseMs} is a dead leader's. */
  readonly renewals?: number | undefined;
}

/** `<dataDir>/tenants`: one folder per tenant. */
export function tenantsDir(dataDir: string): string {
  return `${dataDir}/tenants`;
}

/** `<dataDir>/trash`: folders of deleted tenants, `<tenant>.<deleted at, ms>.<expires at, ms>`. */
export function trashDir(dataDir: string): string {
  return `${dataDir}/trash`;
}

/** `<dataDir>/running`: what each writer thread is at, `<epoch>.<lane>`; a successor reads it. */
export function runningDir(dataDir: string): string {
  return `${dataDir}/running`;
}

/** Where the broker notes, a file per tenant, that it opens a file only after a person has looked at it. */
export function withheldDir(dataDir: string): string {
  return `${dataDir}/withheld`;
}

/** `<dataDir>/tenants/<tenant>/<file>`. @throws OnewriterError INVALID_TENANT */
export function tenantFile(dataDir: string, tenant: string, dbFile: string = DEFAULT_DB_FILE): string {
  return `${tenantsDir(dataDir)}/${assertTenantId(tenant)}/${dbFile}`;
}

/** `<dataDir>/known/<tenant>`: an empty file that says that a broker has written to the tenant's database. @throws OnewriterError INVALID_TENANT */
export function knownTenantMark(dataDir: string, tenant: string): string {
  return `${dataDir}/known/${assertTenantId(tenant)}`;
}

/** `<dataDir>/logs/<tenant>`: which file the tenant's log (-wal) belongs to, by device and inode. @throws OnewriterError INVALID_TENANT */
export function logNotePath(dataDir: string, tenant: string): string {
  return `${dataDir}/logs/${assertTenantId(tenant)}`;
}

/** `<dataDir>/hibernated/<tenant>`: a HibernatedNote, as JSON. @throws OnewriterError INVALID_TENANT */
export function hibernatedNotePath(dataDir: string, tenant: string): string {
  return `${dataDir}/hibernated/${assertTenantId(tenant)}`;
}

/** `<dataDir>/former/<tenant>`: an empty file that says that the tenant had a database before. @throws OnewriterError INVALID_TENANT */
export function formerTenantMark(dataDir: string, tenant: string): string {
  return `${dataDir}/former/${assertTenantId(tenant)}`;
}
