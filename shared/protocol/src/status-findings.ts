import { type BrokerStatus, STATUS_TTL_MS } from './broker-status.ts';

/*
 * What is wrong, judged the same way by the overview page, the command line and the alert rules
 * (infra/prometheus/rules.yml): a finding has the name of its alert, and the operations guide a section of that name.
 * Alerts wait for some minutes before they fire; a finding is what is wrong now.
 */

/** Something a person on call should look at. */
export interface StatusFinding {
  /** Critical: writes are lost, refused or held up. Warning: they soon will be, or those of some tenants are. */
  readonly level: 'critical' | 'warning';
  /** The alert of the same name, for example `OnewriterTenantParked`. */
  readonly alert: string;
  /** One sentence: what is so, with its figure. */
  readonly text: string;
  /** Where it is about one tenant. */
  readonly tenant?: string | undefined;
}

/** Bounds of {@link findStatusProblems} and of the alert rules; a test compares them. */
export const STATUS_BOUNDS = Object.freeze({
  /** A commit, p99. A disk that is healthy does it in a few milliseconds. */
  commitP99Ms: 250,
  /** A tenant's job from enqueue to commit. */
  delayMs: 5_000,
  /** One tenant's jobs that are not applied; producers are refused at LIMITS.maxQueueDepth. */
  tenantQueuedJobs: 500,
  /** One batch in a thread, or in the process apart while others wait; the watchdog's limit is ONEWRITER_STATEMENT_TIMEOUT_MS. */
  laneHeldMs: 2_000,
  diskFreeShare: 0.1,
  diskFreeShareCritical: 0.03,
  redisMemoryShare: 0.8,
  eventLoopDelayMs: 200,
  /** Tenants closed a second for others to be opened, and as a share of the batches: more tenants are at work than fit. */
  evictedPerSecond: 5,
  evictedShare: 0.1,
  /** For this long after a broker began to lead, slow writes are put down to the change of leader. */
  newLeaderMs: 30_000,
  /** A commit that is not stored for so long; an interval is a second. */
  replicaLagMs: 60_000,
  /** Share of ONEWRITER_REPLICA_BUFFER_BYTES; at all of it histories get gaps. */
  replicaBufferShare: 0.8,
  /** No tenant was restored for a test for so long; each should be once a day. */
  replicaUnverifiedMs: 2 * 24 * 60 * 60_000,
  /** A further store lacks what is older. */
  replicaCopyBehindMs: 60 * 60_000,
  /** A status that is older was not renewed. */
  statusAgeMs: STATUS_TTL_MS,
});

/** What {@link findStatusProblems} looks at; `GroupStatus` of @onewriter/runtime is one. */
export interface StatusSource {
  readonly readAt: number;
  readonly status: BrokerStatus | undefined;
  readonly brokers: readonly { readonly state: string }[];
  readonly lease: unknown;
  readonly problem: string | undefined;
}

const MAX_TENANT_FINDINGS = 10;
/** Delayed tenants that are named one by one; more have a common cause. */
const MAX_DELAYED_FINDINGS = 3;
const MB = 1024 * 1024;

/** What is wrong now, the critical first; empty where all is well. */
export function findStatusProblems(source: StatusSource): readonly StatusFinding[] {
  const { status, brokers, lease, problem } = source;
  const findings: StatusFinding[] = [];
  const add = (level: StatusFinding['level'], alert: string, text: string, tenant?: string) => {
    findings.push(tenant === undefined ? { level, alert, text } : { level, alert, text, tenant });
  };
  if (problem !== undefined) add('warning', 'OnewriterMixedVersions', problem);
  if (status === undefined) {
    if (lease === undefined && brokers.length > 0) {
      add('critical', 'OnewriterNoLeader', 'No broker leads: writes wait in their queues.');
    } else if (lease === undefined) {
      add('critical', 'OnewriterNoLeader', 'No broker runs: writes wait in their queues.');
    } else if (problem === undefined) {
      add(
        'critical',
        'OnewriterNoLeader',
        'A broker holds the lease and does not report: it is starting, or hangs.',
      );
    }
    return findings;
  }
  if (!status.leader.leaseHeld) {
    add(
      'critical',
      'OnewriterNoLeader',
      'The leader could not renew its lease: it begins nothing until it can.',
    );
  }
  findInRedis(status, add);
  findInDisk(status, add);
  findSlowMachine(status, add);
  findTooFewFiles(status, add);
  findApart(status, add);
  findDelays(status, add);
  findInTenants(status, add);
  findInReplica(status, add);
  findInRehearsals(status, add);
  findInHibernation(status, add);
  if (status.deadLetters.waiting > 0) {
    const { waiting } = status.deadLetters;
    add(
      'warning',
      'OnewriterDeadLetters',
      `${waiting} ${waiting === 1 ? 'write was' : 'writes were'} set aside.`,
    );
  }
  return findings.toSorted((a, b) => Number(a.level === 'warning') - Number(b.level === 'warning'));
}

type Add = (level: StatusFinding['level'], alert: string, text: string, tenant?: string) => void;

/** What makes the writes of all tenants slow: it stands in front of what it does to each. */
function findSlowMachine(status: BrokerStatus, add: Add): void {
  const { commitP99Ms } = status.writes;
  if (commitP99Ms !== null && commitP99Ms > STATUS_BOUNDS.commitP99Ms) {
    add(
      'warning',
      'OnewriterCommitsSlow',
      `Commits are slow: p99 ${Math.round(commitP99Ms)} ms. Look at the disk.`,
    );
  }
  if (status.process.eventLoopDelayP99Ms > STATUS_BOUNDS.eventLoopDelayMs) {
    const delay = Math.round(status.process.eventLoopDelayP99Ms);
    add('warning', 'OnewriterEventLoopSlow', `The broker's event loop is late by ${delay} ms: it lacks CPU.`);
  }
}

/** Tenants that are closed and opened again and again: each time costs several flushes. */
function findTooFewFiles({ files, writes }: BrokerStatus, add: Add): void {
  if (files === undefined) return;
  const { evictedPerSecond, maxOpenTenants } = files;
  if (evictedPerSecond <= STATUS_BOUNDS.evictedPerSecond) return;
  if (evictedPerSecond <= STATUS_BOUNDS.evictedShare * writes.batchesPerSecond) return;
  add(
    'warning',
    'OnewriterTooFewOpenFiles',
    `${Math.round(evictedPerSecond)} tenants a second are closed so that others can be opened: more are at work than the ` +
      `${maxOpenTenants} that may be open.`,
  );
}

/** Costly writes: who waits for them in the process apart, and whether the broker was replaced too often. */
function findApart({ apart }: BrokerStatus, add: Add): void {
  if (apart === undefined) return;
  const { tenant, tenantForMs, waitingTenants, replacements, spentForMs } = apart;
  if (tenant !== null && waitingTenants > 0 && tenantForMs > STATUS_BOUNDS.laneHeldMs) {
    const seconds = (tenantForMs / 1_000).toFixed(1);
    const waiting = waitingTenants === 1 ? '1 tenant waits' : `${waitingTenants} tenants wait`;
    const text = `${tenant} has held the process apart for ${seconds} s, and ${waiting} for it.`;
    add('warning', 'OnewriterApartHeld', text, tenant);
  }
  if (spentForMs > 0) {
    const minutes = Math.ceil(spentForMs / 60_000);
    add(
      'warning',
      'OnewriterTooManyReplacements',
      `Writes had the broker replaced ${replacements} times: their tenants, and new ones, run apart for ${minutes} min more.`,
    );
  }
}

/** Tenants whose writes take long; one finding where they have a common cause. */
function findDelays({ at, leader, tenants }: BrokerStatus, add: Add): void {
  const delayed = tenants.delayed.filter(({ maxDelayMs }) => maxDelayMs > STATUS_BOUNDS.delayMs);
  const longest = delayed[0];
  if (longest === undefined) return;
  // The status lists the largest.
  const more = delayed.length < MAX_TENANT_FINDINGS ? '' : ' or more';
  const upTo = `${(longest.maxDelayMs / 1_000).toFixed(1)} s`;
  const whose = delayed.length === 1 ? longest.tenant : `${delayed.length} tenants${more}`;
  const leadsForMs = at - leader.since;
  if (leadsForMs < STATUS_BOUNDS.newLeaderMs) {
    const ago = Math.max(0, Math.round(leadsForMs / 1_000));
    const text = `The broker began to lead ${ago} s ago: writes of ${whose} waited for it, up to ${upTo}.`;
    add('warning', 'OnewriterWritesDelayed', text);
  } else if (delayed.length > MAX_DELAYED_FINDINGS) {
    const text = `Writes of ${whose} take up to ${upTo} to their commit, those of ${longest.tenant} the longest.`;
    add('warning', 'OnewriterWritesDelayed', text);
  } else {
    for (const { tenant, maxDelayMs } of delayed) {
      const seconds = (maxDelayMs / 1_000).toFixed(1);
      const text = `Writes of ${tenant} take ${seconds} s to their commit.`;
      add('warning', 'OnewriterWritesDelayed', text, tenant);
    }
  }
}

function findInRedis({ redis }: BrokerStatus, add: Add): void {
  if (redis.maxMemoryPolicy !== 'noeviction') {
    add(
      'critical',
      'OnewriterRedisEvicts',
      `Redis may evict queued writes: policy ${redis.maxMemoryPolicy}.`,
    );
  }
  if (!redis.aofEnabled) {
    add('warning', 'OnewriterRedisNotDurable', 'Redis has no AOF: what is queued is lost when it restarts.');
  } else if (!redis.aofLastWriteOk) {
    add('critical', 'OnewriterRedisNotDurable', 'Redis cannot write its AOF: look at its disk.');
  }
  if (!redis.rdbLastSaveOk) {
    add(
      'warning',
      'OnewriterRedisNotDurable',
      'The last snapshot of Redis failed: look at its disk and log.',
    );
  }
  const share = redis.maxMemoryBytes > 0 ? redis.usedMemoryBytes / redis.maxMemoryBytes : 0;
  if (share > STATUS_BOUNDS.redisMemoryShare) {
    add(
      'critical',
      'OnewriterRedisMemory',
      `Redis uses ${percent(share)} of its maxmemory; from 90 % on new writes are refused.`,
    );
  }
}

function findInDisk({ disk }: BrokerStatus, add: Add): void {
  const share = disk.totalBytes > 0 ? disk.freeBytes / disk.totalBytes : 1;
  if (share >= STATUS_BOUNDS.diskFreeShare) return;
  const level = share < STATUS_BOUNDS.diskFreeShareCritical ? 'critical' : 'warning';
  const left = `${Math.floor(disk.freeBytes / MB)} MB (${percent(share)})`;
  add(level, 'OnewriterDiskFull', `The disk of ${disk.path} is nearly full: ${left} left.`);
}

function findInTenants({ parked, tenants, lanes, wal }: BrokerStatus, add: Add): void {
  for (const { tenant, code, message } of parked.tenants.slice(0, MAX_TENANT_FINDINGS)) {
    add('critical', 'OnewriterTenantParked', `${tenant} cannot be written: ${code}: ${message}`, tenant);
  }
  if (parked.total > MAX_TENANT_FINDINGS) {
    const more = parked.total - MAX_TENANT_FINDINGS;
    add('critical', 'OnewriterTenantParked', `${more} more tenants cannot be written.`);
  }
  for (const { tenant, queuedJobs } of tenants.deepest) {
    if (queuedJobs <= STATUS_BOUNDS.tenantQueuedJobs) continue;
    add('warning', 'OnewriterQueueDeep', `${queuedJobs} jobs of ${tenant} wait to be applied.`, tenant);
  }
  for (const { tenant, tenantForMs, lane } of lanes) {
    if (tenant === null || tenantForMs <= STATUS_BOUNDS.laneHeldMs) continue;
    const seconds = (tenantForMs / 1_000).toFixed(1);
    add('warning', 'OnewriterLaneHeld', `${tenant} has held lane ${lane} for ${seconds} s.`, tenant);
  }
  for (const { tenant, bytes, readers } of wal.held) {
    const who = readers.map(({ pid, command }) => `${pid} (${command || 'hidden'})`).join(', ');
    const by = who === '' ? 'a reader' : `the reader ${who}`;
    const size = Math.round(bytes / MB);
    add(
      'warning',
      'OnewriterWalHeld',
      `The log of ${tenant} grows (${size} MB): ${by} ends no transaction.`,
      tenant,
    );
  }
}

/** The replica: what is not off the machine yet, and histories with a hole. */
function findInReplica({ at, replica }: BrokerStatus, add: Add): void {
  if (replica === undefined) return;
  const { stores, available, lagMs, lagBytes, bufferBytes, gaps, worst, damaged } = replica;
  for (const [index, { address, ok, failingSince = at, error = 'it does not answer' }] of stores.entries()) {
    if (ok) continue;
    const age = `${Math.max(0, Math.round((at - failingSince) / 1_000))} s`;
    const isCopy = index > 0;
    const effect = isCopy
      ? 'The others have everything'
      : 'Commits stay on this machine, and writes that wait for the replica are refused';
    const level = isCopy || available ? 'warning' : 'critical';
    add(
      level,
      'OnewriterReplicaStoreDown',
      `The store ${address} fails for ${age}: ${error.replace(/\.$/, '')}. ${effect}.`,
    );
  }
  if (lagMs > STATUS_BOUNDS.replicaLagMs) {
    const last = worst.toSorted((a, b) => b.lagMs - a.lagMs)[0];
    const whose = last === undefined ? '' : ` of ${last.tenant}`;
    const text = `Commits${whose} are not stored for ${Math.round(lagMs / 1_000)} s: a lost machine would lose them.`;
    add('warning', 'OnewriterReplicaLag', text, last?.tenant);
  }
  if (bufferBytes > 0 && lagBytes / bufferBytes > STATUS_BOUNDS.replicaBufferShare) {
    const text = `${percent(lagBytes / bufferBytes)} of ONEWRITER_REPLICA_BUFFER_BYTES wait for the store: at 100 % histories get gaps.`;
    add('critical', 'OnewriterReplicaBuffer', text);
  }
  if (gaps > 0) {
    const text = `${gaps} ${gaps === 1 ? 'history has' : 'histories have'} a gap since this broker leads: some commits cannot be gone back to.`;
    add(
      'warning',
      'OnewriterReplicaGap',
      text,
      gaps === 1 ? worst.find(row => row.gaps > 0)?.tenant : undefined,
    );
  }
  if (damaged !== undefined && damaged.found > 0) {
    const [tenant] = damaged.tenants;
    const whose =
      tenant === undefined ? '' : ` (${damaged.tenants.slice(0, MAX_TENANT_FINDINGS).join(', ')})`;
    const text = `The store changed ${damaged.found} of its objects or parts of them${whose}: these tenants are stored again, and some of their commits cannot be gone back to.`;
    add('critical', 'OnewriterReplicaDamaged', text, damaged.tenants.length === 1 ? tenant : undefined);
  }
  for (const { address, copy } of stores) {
    if (copy === undefined || copy.behindMs <= STATUS_BOUNDS.replicaCopyBehindMs) continue;
    const { behindPacks, behindMs, error } = copy;
    const packs = behindPacks === null ? '' : ` and ${behindPacks} packs`;
    const why = error === undefined ? '' : `: ${withoutStop(error)}`;
    const text = `The copy ${address} is ${Math.round(behindMs / 60_000)} min${packs} behind the first store${why}.`;
    add('warning', 'OnewriterReplicaCopyBehind', text);
  }
}

/** Hibernated tenants that do not come back when they are used. */
function findInHibernation({ hibernation }: BrokerStatus, add: Add): void {
  const [first] = hibernation?.failed ?? [];
  if (hibernation === undefined || first === undefined) return;
  const { failing } = hibernation;
  const whose = failing === 1 ? first.tenant : `${failing} hibernated tenants (such as ${first.tenant})`;
  const text = `The file of ${whose} does not come from the replica: ${withoutStop(first.message)}.`;
  add('critical', 'OnewriterWakesFail', text, failing === 1 ? first.tenant : undefined);
}

/** Restores for a test: what is not sound, and that nothing is known. */
function findInRehearsals({ at, replica }: BrokerStatus, add: Add): void {
  if (replica?.rehearsals === undefined) return;
  const { lastAt, oldestAt, unverified, failed } = replica.rehearsals;
  for (const { tenant, problems } of failed.slice(0, MAX_TENANT_FINDINGS)) {
    const [problem = 'it could not be restored'] = problems;
    const text = `The replica of ${tenant} is not sound: ${withoutStop(problem)}.`;
    add('critical', 'OnewriterReplicaUnsound', text, tenant);
  }
  if ((oldestAt !== null || unverified > 0) && at - lastAt > STATUS_BOUNDS.replicaUnverifiedMs) {
    const hours = Math.round((at - lastAt) / 3_600_000);
    const text = `No tenant was restored for a test for ${hours} h: whether the replica is sound is not known.`;
    add('warning', 'OnewriterReplicaUnverified', text);
  }
}

function withoutStop(text: string): string {
  return text.replace(/\.$/, '');
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}
