import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';

/**
 * Brings a tenant's schema to {@link SCHEMA_VERSION}; a tenant without a file gets one. Any number of processes
 * may do this at once.
 *
 * @throws OnewriterError MISCONFIGURED where a newer program has already moved the schema on; and what exec()
 *   throws.
 */
export async function migrate(tenant: Tenant): Promise<void> {
  for (let version = await readVersion(tenant); version !== SCHEMA_VERSION; ) {
    const script = MIGRATIONS[version];
    if (script === undefined) {
      throw new OnewriterError(
        'MISCONFIGURED',
        `Tenant ${tenant.id} has schema version ${version}, this program knows ${SCHEMA_VERSION}: update it.`,
        { tenant: tenant.id },
      );
    }
    try {
      await tenant.exec(script);
      version++;
    } catch (error) {
      // Another process was faster: its script is committed, ours was not applied. Anything else is a fault.
      const now = await readVersion(tenant);
      if (!isOnewriterError(error, 'CONSTRAINT_VIOLATION') || now <= version) throw error;
      version = now;
    }
  }
}

async function readVersion(tenant: Tenant): Promise<number> {
  try {
    return Number(await tenant.pragma('user_version', { simple: true }));
  } catch (error) {
    if (isOnewriterError(error, 'TENANT_NOT_FOUND')) return 0;
    throw error;
  }
}
