import { stat } from 'node:fs/promises';
import { hadDatabase, isHibernated, isKnownDatabase, tenantFile } from '@onewriter/protocol';
import type { Config } from '@onewriter/runtime';

/** Looks at so many files at a time. */
const AT_A_TIME = 64;

/**
 * Tenants of the store that were deleted while no broker heard of it. A file that is only missing is none of them: Onewriter marks the
 * tenants that it deletes.
 * @param stored tenants with a file in the store
 * @throws OnewriterError TENANT_UNAVAILABLE where the marks cannot be seen
 */
export async function* findDeletedTenants(
  { dataDir, dbFile }: Pick<Config, 'dataDir' | 'dbFile'>,
  stored: readonly string[],
): AsyncGenerator<string> {
  for (let from = 0; from < stored.length; from += AT_A_TIME) {
    const some = stored.slice(from, from + AT_A_TIME);
    const gone = await Promise.all(some.map(tenant => isMissing(tenantFile(dataDir, tenant, dbFile))));
    // A hibernated one had a file, and no broker may ever have written to it here.
    const isDeleted = (tenant: string) =>
      hadDatabase(dataDir, tenant) && !isKnownDatabase(dataDir, tenant) && !isHibernated(dataDir, tenant);
    yield* some.filter((tenant, index) => gone[index] && isDeleted(tenant));
  }
}

async function isMissing(path: string): Promise<boolean> {
  try {
    await stat(path);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
