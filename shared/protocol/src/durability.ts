import { assertTenantId, TENANT_ID_PATTERN } from './tenant-id.ts';

/**
 * When a tenant's callers are answered, and whether its commits are replicated at all:
 *
 * - `async`: when the commit is on this machine's disk; the replica follows
 * - `sync`: when the replica has the commit, too
 * - `off`: as `async`, and nothing is replicated
 */
export const DURABILITIES = Object.freeze(['async', 'sync', 'off'] as const);

export type Durability = (typeof DURABILITIES)[number];

/**
 * Field of the meta hash of a tenant's queue that clients see when they add a job: 1 where the tenant's durability is `sync`, else 0.
 * Only a broker knows what holds for a tenant of which nothing was said. Until it has written the field clients expect a 1: a wait that
 * is not needed costs little, and a needed one that is left out loses what was answered.
 */
export const SYNC_FIELD = 'onewriter.sync';

export function isDurability(value: unknown): value is Durability {
  return DURABILITIES.includes(value as Durability);
}

const PREFIX = 'durability:';

/** The notification that has the leader read a tenant's durability; no tenant id has a colon. */
export function durabilityNotification(tenant: string): string {
  return `${PREFIX}${assertTenantId(tenant)}`;
}

/** The tenant of a {@link durabilityNotification}; undefined for any other notification. */
export function readDurabilityNotification(notification: string): string | undefined {
  if (!notification.startsWith(PREFIX)) return undefined;
  const tenant = notification.slice(PREFIX.length);
  return TENANT_ID_PATTERN.test(tenant) ? tenant : undefined;
}
