import type { Config, Logger, Successor } from '@onewriter/runtime';
import type { LaneThread } from '../lanes/lane-thread.ts';
import type { BrokerMetrics } from '../observe/broker-metrics.ts';
import type { RedisLink } from '../queue/redis-link.ts';
import type { DataDirClaim } from './data-dir-claim.ts';
import type { Lease } from './lease.ts';

/** Dependencies of a leader. */
export interface LeaderOptions {
  readonly config: Config;
  readonly log: Logger;
  /** For commands. */
  readonly link: RedisLink;
  /** For the doorbell alone. */
  readonly notificationLink: RedisLink;
  /** Held. */
  readonly lease: Lease;
  readonly claim: DataDirClaim;
  readonly metrics: BrokerMetrics;
  readonly successor: Successor;
  /** Writer threads that were started before. */
  readonly threads: readonly LaneThread[];
  /** The process has to end, at once: its jobs are delivered to its successor. */
  readonly onEnd: (reason: string) => void;
}
