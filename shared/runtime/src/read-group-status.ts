import {
  type BrokerRecord,
  type BrokerStatus,
  groupKeys,
  isOnewriterError,
  type LeaseRecord,
  parseBrokerRecord,
  parseBrokerStatus,
  STATUS_TTL_MS,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** What a group's brokers report, as read at one moment. */
export interface GroupStatus {
  /** Redis' clock when it was read, ms. */
  readonly readAt: number;
  /** Undefined: no broker leads, or the leader's event loop hangs, or {@link problem}. */
  readonly status: BrokerStatus | undefined;
  /** All broker processes that live, the leader first. */
  readonly brokers: readonly BrokerRecord[];
  /** The lease of the leader; undefined if it is free. */
  readonly lease: LeaseRecord | undefined;
  /** What could not be understood: a broker of another version. */
  readonly problem: string | undefined;
}

/**
 * Reads what a group's brokers publish: one round trip, no broker is asked.
 * @throws Error of Redis or its connection.
 */
export async function readGroupStatus(redis: Redis, group: string): Promise<GroupStatus> {
  const keys = groupKeys(group);
  const [statusJson, records, leaseJson, time] = await Promise.all([
    redis.get(keys.status),
    redis.hvals(keys.brokers),
    redis.get(keys.lease),
    redis.time(),
  ]);
  const readAt = Number(time[0]) * 1_000 + Math.floor(Number(time[1]) / 1_000);
  let problem: string | undefined;
  const understood = <Value>(parse: () => Value): Value | undefined => {
    try {
      return parse();
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      problem = error.message;
      return undefined;
    }
  };
  const status = statusJson === null ? undefined : understood(() => parseBrokerStatus(statusJson));
  const lease = leaseJson === null ? undefined : (JSON.parse(leaseJson) as LeaseRecord);
  const brokers = records
    .map(json => understood(() => parseBrokerRecord(json)))
    .filter(record => record !== undefined && readAt - record.at < STATUS_TTL_MS)
    .map(record => record as BrokerRecord)
    .toSorted(
      (a, b) => Number(b.state === 'leading') - Number(a.state === 'leading') || a.startedAt - b.startedAt,
    );
  return { readAt, status, brokers, lease, problem };
}
