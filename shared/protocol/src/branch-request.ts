import { groupKeys } from './names.ts';
import type { WireError } from './onewriter-error.ts';
import { assertTenantId, TENANT_ID_PATTERN } from './tenant-id.ts';

/*
 * A branch is an entry in the replica, and only the leader writes there: others ask it by Redis.
 *
 *   caller, who holds the new tenant                leader
 *   the request, by a key with a TTL ▸ notify ───▶  stores the entry ▸ notes where the file is
 *   the answer                                ◀───  in the place of the request
 */

/** A commit of a tenant, as the replica counts. */
export interface BranchPoint {
  /** Whose segment has the commit: of a branch without pages of its own, the tenant that it began as. */
  readonly tenant: string;
  /** Its number in the replica. */
  readonly pos: number;
  readonly commitSeq: number;
  readonly epoch: number;
  /** When it was committed, ms since the epoch. */
  readonly atMs: number;
}

/** As it lies in Redis. */
export interface BranchRequest {
  readonly id: string;
  readonly from: string;
  /** Undefined: the newest commit that is stored. */
  readonly at?: BranchPoint | undefined;
  readonly who: string;
  readonly answer?: BranchAnswer | undefined;
}

export type BranchAnswer =
  | { readonly kind: 'done'; readonly at: BranchPoint; readonly bytes: number }
  /** Nothing was stored; the tenant can be copied out of the replica instead. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: WireError };

/** How long a request and its answer are kept. */
export const BRANCH_REQUEST_MS = 60_000;

/** @throws OnewriterError INVALID_TENANT */
export function branchRequestKey(group: string, tenant: string): string {
  return `${groupKeys(group).branches}:${assertTenantId(tenant)}`;
}

const PREFIX = 'branch:';

/** The notification that has the leader read a request; no tenant id has a colon. */
export function branchNotification(tenant: string): string {
  return `${PREFIX}${assertTenantId(tenant)}`;
}

/** The new tenant of a {@link branchNotification}; undefined for any other notification. */
export function readBranchNotification(notification: string): string | undefined {
  if (!notification.startsWith(PREFIX)) return undefined;
  const tenant = notification.slice(PREFIX.length);
  return TENANT_ID_PATTERN.test(tenant) ? tenant : undefined;
}
