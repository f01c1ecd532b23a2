import { OnewriterError } from './onewriter-error.ts';
import type { StatusReplica } from './replica-status.ts';

/*
 * The leading broker's report on itself and its tenants, about once a second, as JSON in one Redis key
 * (`GroupKeys.status`), and every broker process's report on itself in a hash beside it (`GroupKeys.brokers`).
 * They are for people and monitoring tools, which need not ask a broker; nothing in the write path reads them.
 *
 * Times are ms since the epoch by the broker's clock, durations ms, sizes bytes, shares 0 to 1, rates per second.
 */

/** The version of {@link BrokerStatus} and {@link BrokerRecord}. Fields may be added under the same version. */
export const STATUS_VERSION = 1;

/** How often both are published. */
export const STATUS_EVERY_MS = 1_000;

/** TTL of the key. A missing status means that the leader is gone, or that its event loop hangs. */
export const STATUS_TTL_MS = 5_000;

/** Rows of each list of tenants, at most. */
export const STATUS_TOP = 10;

/** What the leader publishes. */
export interface BrokerStatus {
  readonly v: typeof STATUS_VERSION;
  /** When it was made. */
  readonly at: number;
  readonly leader: StatusLeader;
  readonly writes: StatusWrites;
  readonly queue: StatusQueue;
  readonly tenants: StatusTenants;
  readonly parked: StatusParked;
  readonly lanes: readonly StatusLane[];
  /** Absent in the status of older brokers. */
  readonly apart?: StatusApart | undefined;
  /** Absent in the status of older brokers. */
  readonly files?: StatusFiles | undefined;
  readonly transactions: StatusTransactions;
  readonly redis: StatusRedis;
  readonly wal: StatusWal;
  readonly deadLetters: StatusDeadLetters;
  readonly disk: StatusDisk;
  readonly process: StatusProcess;
  readonly history: StatusHistory;
  /** Absent where nothing is replicated, before the first report, and in the status of older brokers. */
  readonly replica?: StatusReplica | undefined;
  /** Absent in the status of older brokers. */
  readonly hibernation?: StatusHibernation | undefined;
}

/** Who leads. */
export interface StatusLeader {
  /** The id of the process, as in its lease and {@link BrokerRecord}. */
  readonly broker: string;
  readonly host: string;
  readonly pid: number;
  readonly epoch: number;
  /** When it began to lead. */
  readonly since: number;
  /** Id and place of its data directory; absent in the status of older brokers. */
  readonly dataDir?: { readonly id: string; readonly path: string } | undefined;
  /** False while its lease may be over by its own clock: it begins nothing then. */
  readonly leaseHeld: boolean;
}

/** Writes, over the last `windowMs` (about 10 s). Percentiles are null where there was no commit. */
export interface StatusWrites {
  readonly windowMs: number;
  /** Writes that were applied, the failed included. */
  readonly perSecond: number;
  readonly failedPerSecond: number;
  readonly batchesPerSecond: number;
  /** COMMIT of a batch with its flush. Read off a histogram whose buckets are 9 % wide. */
  readonly commitP50Ms: number | null;
  readonly commitP99Ms: number | null;
  /** From the client's enqueue to the commit, of a job: what a caller waits for, without its own coalescing and the answer. */
  readonly delayP50Ms: number | null;
  readonly delayP99Ms: number | null;
  /** Since this broker leads. */
  readonly total: number;
  readonly failedTotal: number;
}

/** Jobs that are not applied, of all tenants. A job carries 1 to 500 writes. */
export interface StatusQueue {
  /** Waiting in Redis: as of each tenant's last fetch, or of the last sweep for tenants that are not fetched from. */
  readonly waitingJobs: number;
  /** Fetched by the broker and not committed. */
  readonly heldJobs: number;
  /** Both. */
  readonly depth: number;
}

/** Tenants at work, over the last `windowMs` (10 to 20 s). Lists have at most {@link STATUS_TOP} rows, the largest first. */
export interface StatusTenants {
  readonly windowMs: number;
  /** Tenants with work in the window. */
  readonly active: number;
  /** Tenants the broker has a session for: with work in the last minutes. */
  readonly open: number;
  /** Tenants ever seen in this group. */
  readonly known: number;
  /** Sum over all active tenants, over this window. */
  readonly writesPerSecond: number;
  /** By writes per second. */
  readonly busiest: readonly StatusTenant[];
  /** By the mean duration of a batch in the thread. */
  readonly slowest: readonly StatusTenant[];
  /** By the longest delay of a job. Only those of more than 0. */
  readonly delayed: readonly StatusTenant[];
  /** By jobs that are not applied. Only those that have some. */
  readonly deepest: readonly StatusTenant[];
}

/** One tenant at work. */
export interface StatusTenant {
  readonly tenant: string;
  readonly writesPerSecond: number;
  readonly failedPerSecond: number;
  readonly batchesPerSecond: number;
  /** Share of one thread that its batches took. */
  readonly busyShare: number;
  /** A batch in the thread: apply and commit. */
  readonly meanBatchMs: number;
  readonly maxBatchMs: number;
  /** The longest that a job took from the client's enqueue to its commit, or waits by now. */
  readonly maxDelayMs: number;
  /** Jobs waiting in Redis and held by the broker. */
  readonly queuedJobs: number;
  /** Bytes of its write-ahead log in use at the last batch. */
  readonly walBytes: number;
}

/** Tenants whose file refuses writes. */
export interface StatusParked {
  readonly total: number;
  /** The longest parked first; at most 50. */
  readonly tenants: readonly StatusParkedTenant[];
}

/** Why a tenant cannot be written. */
export interface StatusParkedTenant {
  readonly tenant: string;
  /** An error code. */
  readonly code: string;
  readonly message: string;
  readonly since: number;
}

/** A writer thread. */
export interface StatusLane {
  readonly lane: number;
  /** Opened because all others were held up. */
  readonly spare: boolean;
  /** Tenants whose connection the thread has or may have. */
  readonly openTenants: number;
  /** Tenants that wait for their turn. */
  readonly waitingTenants: number;
  /** Share of the last second that the thread had work. */
  readonly busyShare: number;
  /** Tenant of the current batch; null when idle. */
  readonly tenant: string | null;
  /** How long it has been at that batch, to about 50 ms. */
  readonly tenantForMs: number;
}

/** The process for jobs that may end their process, and how often the broker was replaced because of such jobs. */
export interface StatusApart {
  /** It runs: it starts with the first such job, and ends after a while without. */
  readonly running: boolean;
  /** Tenant of the current batch; null when idle. */
  readonly tenant: string | null;
  /** How long it has been at that batch, to about a second. */
  readonly tenantForMs: number;
  /** Tenants that wait for their turn. */
  readonly waitingTenants: number;
  /** How often it ended in the middle of its work, since this broker leads. */
  readonly restarts: number;
  /** Replacements of the broker because of writes, of all tenants, within ONEWRITER_OFFENCE_WINDOW_MS when it began to lead. */
  readonly replacements: number;
  /** For how long these are too many: offenders and new tenants run apart; 0 where they are not. */
  readonly spentForMs: number;
}

/** Tenants whose files are open. */
export interface StatusFiles {
  /** Tenants that the threads keep open, those of spare threads not counted. */
  readonly maxOpenTenants: number;
  /** Tenants that were closed because others were opened, over the window of {@link StatusWrites}. */
  readonly evictedPerSecond: number;
}

/** Tenants whose files lie in the replica. */
export interface StatusHibernation {
  readonly tenants: number;
  /** Files on their way. */
  readonly waking: number;
  /** Tenants whose file did not come when it was needed last. */
  readonly failing: number;
  /** Some of them, and why; at most {@link STATUS_TOP}. */
  readonly failed: readonly { readonly tenant: string; readonly message: string }[];
}

/** Interactive transactions that are open. */
export interface StatusTransactions {
  readonly total: number;
  /** The nearest deadline first; at most 50. */
  readonly open: readonly StatusTransaction[];
}

/** An interactive transaction: it holds its tenant's writes up until it ends or its deadline passes. */
export interface StatusTransaction {
  readonly tenant: string;
  readonly id: string;
  /** The client that has it; '' where it is not known. */
  readonly client: string;
  readonly openedAt: number;
  readonly deadlineAt: number;
}

/** Redis, as of the last few seconds. Null: Redis does not report it. */
export interface StatusRedis {
  readonly version: string;
  /** Duration of a PING from the broker. */
  readonly roundTripMs: number;
  readonly usedMemoryBytes: number;
  /** 0 is no limit. */
  readonly maxMemoryBytes: number;
  /** Must be `noeviction`. */
  readonly maxMemoryPolicy: string;
  readonly connectedClients: number;
  readonly commandsPerSecond: number;
  /** Append-only file: without it a restart of Redis loses what is queued. */
  readonly aofEnabled: boolean;
  /** `always`, `everysec` or `no`; null where CONFIG is not allowed. */
  readonly aofFsync: string | null;
  readonly aofLastWriteOk: boolean;
  readonly aofRewriteInProgress: boolean;
  readonly rdbLastSaveOk: boolean;
  readonly rdbLastSaveAt: number;
}

/** Write-ahead logs. */
export interface StatusWal {
  /** The largest of tenants at work; at most {@link STATUS_TOP}. */
  readonly largest: readonly { readonly tenant: string; readonly bytes: number }[];
  /** Tenants whose log cannot restart from its beginning, because a reader does not end its transaction. */
  readonly heldTotal: number;
  /** The largest first; at most {@link STATUS_TOP}. */
  readonly held: readonly StatusHeldWal[];
}

/** A log that a reader holds. */
export interface StatusHeldWal {
  readonly tenant: string;
  readonly bytes: number;
  readonly since: number;
  /** Processes that now hold a reader's lock on it, if /proc shows them; without the broker. */
  readonly readers: readonly { readonly pid: number; readonly command: string }[];
}

/** Writes that were set aside. */
export interface StatusDeadLetters {
  /** In the queue now. */
  readonly waiting: number;
  /** Added since this broker leads. */
  readonly addedTotal: number;
}

/** The file system of the data directory. */
export interface StatusDisk {
  readonly path: string;
  readonly totalBytes: number;
  /** Free for the broker's user. */
  readonly freeBytes: number;
  /** Network file systems are read through the gateway. */
  readonly kind: 'local' | 'network';
}

/** The leader's process. */
export interface StatusProcess {
  readonly startedAt: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  /** How late timers were in the last second. */
  readonly eventLoopDelayP99Ms: number;
  /** Writer threads that ended in the middle of their work and were replaced, since this broker leads. */
  readonly writerThreadRestarts: number;
}

/** The last five minutes, for plots: columns of equal length, the oldest first, one entry every `everyMs`. */
export interface StatusHistory {
  readonly everyMs: number;
  /** When the last entry ended. */
  readonly endsAt: number;
  readonly writesPerSecond: readonly number[];
  readonly commitP50Ms: readonly (number | null)[];
  readonly commitP99Ms: readonly (number | null)[];
  readonly depth: readonly number[];
}

/** What each broker process publishes about itself, leader and standbys alike: hash field `broker`. */
export interface BrokerRecord {
  readonly v: typeof STATUS_VERSION;
  readonly broker: string;
  readonly host: string;
  readonly pid: number;
  readonly state: 'starting' | 'standby' | 'leading' | 'draining';
  /** When the process started. */
  readonly startedAt: number;
  /** When it was last heard of. Older than {@link STATUS_TTL_MS}: it is gone. */
  readonly at: number;
  /** Where it answers `/readyz` and `/metrics`; 0 is none. */
  readonly port: number;
}

/** Parses what the leader published. @throws OnewriterError UNSUPPORTED_VERSION, INVALID_ARGUMENT */
export function parseBrokerStatus(json: string): BrokerStatus {
  return parse<BrokerStatus>(json, 'status');
}

/** Parses what a broker process published. @throws OnewriterError UNSUPPORTED_VERSION, INVALID_ARGUMENT */
export function parseBrokerRecord(json: string): BrokerRecord {
  return parse<BrokerRecord>(json, 'broker record');
}

function parse<Message extends { readonly v: number }>(json: string, what: string): Message {
  let message: Message | null;
  try {
    message = JSON.parse(json);
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', `The ${what} is not JSON.`, {}, cause);
  }
  if (message?.v === STATUS_VERSION) return message;
  throw new OnewriterError(
    'UNSUPPORTED_VERSION',
    `This side reads version ${STATUS_VERSION} of the ${what} and got ${String(message?.v)}; update the older side.`,
  );
}
