import { setTimeout as pause } from 'node:timers/promises';
import { isOnewriterError } from '@onewriter/protocol';
import { withHeldTenant } from '@onewriter/tenants';
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

/** How long another operation on the tenant is waited for. */
const WAIT_MS = 5_000;
const LOOK_EVERY_MS = 50;

/** A {@link TenantPlacement} of this gateway. */
export function createTenantPlacement(redis: Redis, group: string, files: TenantFiles): TenantPlacement {
  return async (tenant, who, place) => {
    // There is no file that a broker could have open, and where one makes it meanwhile `place` does nothing.
    const request = { name: 'create', who, reason: '', exclusive: true, closesFile: false } as const;
    for (const deadline = performance.now() + WAIT_MS; ; await pause(LOOK_EVERY_MS)) {
      if ((await files.size(tenant)) !== undefined) return false;
      try {
        return await withHeldTenant(redis, group, tenant, request, async held => {
          await held.assertHeld();
          return place();
        });
      } catch (error) {
        // If two requests create the same tenant, the second finds it a moment later.
        const isHeld = isOnewriterError(error) && error.details.reason === 'the tenant is held';
        if (!isHeld || performance.now() >= deadline) throw error;
      }
    }
  };
}
