import { DURABILITIES } from '@onewriter/protocol';
import { type CatalogueEntry, TENANT_STATES } from '@onewriter/tenants';
import { z } from '../schemas.ts';

const TenantState = z.enum(TENANT_STATES).openapi('TenantState', {
  description:
    'new: it has queued writes and no file yet. active: writes are applied. releasing: it has holders, the broker is closing its file. ' +
    'paused: until a person resumes it. restoring, deleting: an operation works on its file. hibernating: its file is taken away. ' +
    'hibernated: its file is in the replica only. waking: it is on its way. parked: its file takes no writes, the broker tries again. ' +
    'While it has holders, writes through the gateway are refused and others wait.',
});

const Holder = z
  .object({
    name: z.string().openapi({ description: 'pause, restore, delete or create.' }),
    reason: z.string(),
    who: z.string(),
    since: z.string().nullable(),
    expiresAt: z.string().nullable().openapi({
      description: 'When it ends, unless its process renews it; null for a pause, which ends with resume.',
    }),
  })
  .openapi('TenantHolder');

/** A tenant in a list. */
export const Summary = z
  .object({
    tenant: z.string(),
    state: TenantState,
    bytes: z.int().nullable(),
    walBytes: z.int().nullable(),
    hibernated: z
      .object({ bytes: z.int(), since: z.string() })
      .nullable()
      .openapi({ description: 'Where its file lies in the replica only: its size, and since when.' }),
    queuedJobs: z.int(),
    lastActivity: z.string().nullable(),
    durability: z.enum(DURABILITIES).nullable().openapi({
      description:
        'Whether callers wait for the replica (sync), or nothing is replicated (off); null: ONEWRITER_REPLICA_MODE.',
    }),
    parked: z.object({ code: z.string(), message: z.string(), since: z.string() }).nullable(),
    holders: z.array(Holder).openapi({
      description:
        'Who keeps it still, why and since when. It is active again when the last hold is released.',
    }),
  })
  .openapi('TenantSummary');

/** A tenant. */
export const Tenant = Summary.extend({
  commitSeq: z.int().nullable(),
  lastWrite: z.string().nullable().openapi({ description: 'Time of the newest commit.' }),
}).openapi('Tenant');

/** A tenant as it is listed. */
export function toSummary(entry: CatalogueEntry): z.output<typeof Summary> {
  const {
    tenant,
    state,
    size,
    hibernated,
    waitingJobs,
    activeJobs,
    lastActivity,
    parked,
    holders,
    durability,
  } = entry;
  return {
    ...{ tenant, state, bytes: size?.bytes ?? null, walBytes: size?.walBytes ?? null },
    hibernated: hibernated === undefined ? null : { bytes: hibernated.bytes, since: hibernated.since },
    queuedJobs: waitingJobs + activeJobs,
    lastActivity: lastActivity === null ? null : new Date(lastActivity).toISOString(),
    ...{ durability, parked, holders: [...holders] },
  };
}
