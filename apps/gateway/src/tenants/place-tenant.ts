import { withHeldTenant } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import type { TenantFiles } from './tenant-files.ts';

/**
 * Runs `place`, which puts a new tenant's file in its place, while no deletion or restore works there.
 * @returns false where there is a file already, as `place` does
 * @throws OnewriterError TENANT_UNAVAILABLE where another operation holds the tenant, QUEUE_UNAVAILABLE
 */
export type TenantPlacement = (
  tenant: string,
  who: string,
  place: () => Promise<boolean>,
) => Promise<boolean>;

/** A {@link TenantPlacement} of this gateway. */
export function createTenantPlacement(redis: Redis, group: string, files: TenantFiles): TenantPlacement {
  return async (tenant, who, place) => {
    if ((await files.size(tenant)) !== undefined) return false;
    // There is no file that a broker could have open, and where one makes it meanwhile `place` does nothing.
    const request = { name: 'create', who, reason: '', exclusive: true, closesFile: false } as const;
    return withHeldTenant(redis, group, tenant, request, async held => {
      await held.assertHeld();
      return place();
    });
  };
}
