import type { WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { JobMemory } from '../../lanes/job-memory.ts';
import type { Lanes } from '../../lanes/lanes.ts';
import type { WalWatch } from '../../lanes/wal-watch.ts';
import type { BrokerMetrics } from '../../observe/broker-metrics.ts';
import type { BatchObserver } from '../../observe/finished-batch.ts';
import type { TenantLoads } from '../../observe/status/tenant-load.ts';
import type { DeadLetters } from '../../queue/dead-letters.ts';
import type { InboxEvents } from '../../queue/inbox-events.ts';
import type { RedisLink } from '../../queue/redis-link.ts';
import type { TenantQueue } from '../../queue/tenant-queue.ts';
import type { Failpoint } from '../../recovery/failpoint.ts';
import type { PoisonedJobs } from '../../recovery/poisoned-jobs.ts';
import type { ReplicaAnswers } from '../../replica/replica-answers.ts';
import type { ClientPresence } from '../client-presence.ts';
import type { Offenders } from '../offenders.ts';
import type { Parked } from '../parked.ts';
import type { ReadShare } from '../read-share.ts';
import type { ReplacementBudget } from '../replacement-budget.ts';
import type { Waker } from '../waker.ts';
import type { Refusals } from './batch-retry.ts';
import type { HeldJobs } from './held-jobs.ts';
import type { TransactionLimits } from './transaction-lease.ts';

/** Shared by the sessions of all tenants. */
export interface SessionServices {
  readonly lanes: Lanes;
  readonly link: RedisLink;
  readonly inbox: InboxEvents;
  readonly presence: Pick<ClientPresence, 'isHere'>;
  readonly deadLetters: DeadLetters;
  readonly poisoned: PoisonedJobs;
  readonly parked: Parked;
  readonly offenders: Offenders;
  readonly replacements: ReplacementBudget;
  readonly replica: ReplicaAnswers;
  readonly readShare: ReadShare;
  readonly waker: Pick<Waker, 'wake' | 'stop' | 'close' | 'status'>;
  readonly metrics: BrokerMetrics;
  readonly loads: TenantLoads;
  readonly memory: JobMemory;
  readonly walWatch: WalWatch;
  /** Called last, once per finished batch. */
  readonly observers: readonly BatchObserver[];
  readonly log: Logger;
  /** The epoch to commit under. */
  readonly epoch: () => number;
  /** A file has seen a newer epoch. Resolves where this process still leads, under a higher one; else it ends. */
  readonly onFenced: (tenant: string, error: WireError) => Promise<void>;
  readonly transactionLimits: TransactionLimits;
  /** The tenant is held: this session begins nothing more, and is to be drained and forgotten. */
  readonly onHeld: (tenant: string) => void;
  /** Called for each committed batch, before its callers are answered. */
  readonly afterCommit: Failpoint;
  /** An internal error that the session cannot handle. */
  readonly onBug: (error: unknown) => void;
}

/** What a session knows of its queue in Redis. Several facts, each of which may hold without the others. */
export interface QueueFacts {
  /** The list of active jobs has to be read before more is fetched. */
  isStale: boolean;
  /** Unfetched jobs may wait. */
  mayHaveMore: boolean;
  /** Jobs that were requeued before may be applied, whichever they are, if added by then: see Reclaimed. */
  doubtUntil: number;
  /** Jobs that wait, as last reported. */
  waiting: number;
}

/** What the parts of one session share. */
export interface SessionParts {
  readonly tenant: string;
  readonly services: SessionServices;
  readonly queue: TenantQueue;
  readonly held: HeldJobs;
  readonly facts: QueueFacts;
  readonly refusals: Refusals;
  /** It begins nothing more. */
  readonly isDraining: () => boolean;
  /** Does all that can be done now. */
  readonly pump: () => void;
  /** The same, and wakes what waits for the session. */
  readonly proceed: () => void;
  /** Holds all jobs of the tenant until the fate of one of them is decided. */
  readonly decide: <Result>(decision: () => Promise<Result>) => Promise<Result>;
}
