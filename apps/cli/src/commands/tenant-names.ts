import { EXIT } from '../exit-codes.ts';
import { findTarget } from '../target.ts';
import { listTenantFiles } from '../tenants/catalogue.ts';

/** Prints the names of tenants, a line each, for the scripts of completion. */
export async function tenantNames(): Promise<number> {
  for (const name of await listTenantFiles(findTarget(undefined))) process.stdout.write(`${name}\n`);
  return EXIT.ok;
}
