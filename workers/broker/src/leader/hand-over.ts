import { groupKeys } from '@onewriter/protocol';
import type { TenantSession } from '../tenant/session/tenant-session.ts';
import type { LeaderParts } from './leader-parts.ts';

/** Requeues jobs that were not begun, notifies their tenants, and releases the lease. @throws Error of Redis */
export async function handOver(parts: LeaderParts, handedOver: readonly TenantSession[]): Promise<void> {
  const { options, sessions } = parts;
  const { link, lease, config } = options;
  const now = Date.now();
  const notifications: (string | number)[] = [];
  const settled: string[] = [];
  await Promise.all(
    handedOver.map(async session => {
      // The successor finds these in the ledger, and waits for the replica.
      const { waitsForReplica } = session;
      // One that did not drain in time may get jobs yet, which its successor finds active.
      const { isInTransit } = session;
      const hadMore = session.mayHaveMore || waitsForReplica > 0 || isInTransit;
      const returned = await session.requeue();
      if (hadMore || returned > 0) notifications.push(now, session.tenant);
      if (session.held === 0 && waitsForReplica === 0 && !isInTransit) settled.push(session.tenant);
    }),
  );
  if (notifications.length > 0)
    await link.call('ZADD', groupKeys(config.group).notifications, 'NX', ...notifications);
  if (settled.length > 0) await sessions.leaveOpenSet(settled);
  await lease.release();
}

/** If Redis lost its data, the successor would not know in which queues this process left active jobs. */
export function listActiveTenants({ options, sessions }: LeaderParts): void {
  const { link, config, log } = options;
  const awake = sessions.all.filter(session => !session.asleep);
  if (awake.length === 0) return;
  const { tenants } = groupKeys(config.group);
  link
    .call('ZADD', tenants, 'GT', ...awake.flatMap(({ tenant }) => [Date.now(), tenant]))
    .catch(error => log.warn({ err: error }, 'The tenants with active jobs could not be listed'));
}
