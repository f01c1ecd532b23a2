import { access, readdir } from 'node:fs/promises';
import { TENANT_ID_PATTERN, tenantFile, tenantsDir } from '@onewriter/protocol';
import type { Config } from '@onewriter/runtime';

/** Looks at so many files at a time. */
const AT_A_TIME = 64;

/** Tenants with a file that the store does not have: those that were there before replication was switched on. */
export async function* findUnknownTenants(
  { dataDir, dbFile }: Pick<Config, 'dataDir' | 'dbFile'>,
  known: ReadonlySet<string>,
): AsyncGenerator<string> {
  const entries = await readdir(tenantsDir(dataDir)).catch((error: NodeJS.ErrnoException) => {
    // No tenant was made yet.
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const unknown = entries.filter(name => TENANT_ID_PATTERN.test(name) && !known.has(name));
  for (let from = 0; from < unknown.length; from += AT_A_TIME) {
    const some = unknown.slice(from, from + AT_A_TIME);
    const there = await Promise.all(
      some.map(tenant =>
        access(tenantFile(dataDir, tenant, dbFile)).then(
          () => true,
          () => false,
        ),
      ),
    );
    yield* some.filter((_, index) => there[index]);
  }
}
