import {
  assertTenantId,
  DURABILITIES,
  type Durability,
  isDurability,
  OnewriterError,
} from '@onewriter/protocol';
import { setDurability } from '@onewriter/tenants';
import { withRedis } from '../open-redis.ts';
import { audited } from '../operator.ts';
import { findRemoteTarget, type PlaceOptions } from '../target.ts';
import { catalogueOf } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter tenants set`. */
export interface SetTenantOptions extends PlaceOptions {
  readonly durability: string;
  readonly json?: boolean | undefined;
}

/** What callers hear of each. */
const MEANINGS: Readonly<Record<Durability, string>> = {
  async: 'callers are answered when the commit is on the disk; the replica follows',
  sync: 'callers are answered when the replica has the commit; while its store is away they are refused',
  off: 'it is not replicated; what the replica has stays until it expires',
};

/** Chooses when callers of a tenant are answered. */
export async function setTenant(tenant: string, options: SetTenantOptions): Promise<number> {
  assertTenantId(tenant);
  const durability = readDurabilityOption(options.durability);
  const target = findRemoteTarget(options);
  return withRedis(target, async redis => {
    if ((await catalogueOf(target, redis).find(tenant)) === undefined) {
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no tenant ${tenant}.`, { tenant });
    }
    const set = () => setDurability(redis, target.group, tenant, durability);
    const { durability: detail } = options;
    await audited(redis, target.group, 'tenant.set', tenant, set, `durability ${detail}`);
    const meaning = durability === undefined ? 'as ONEWRITER_REPLICA_MODE says' : MEANINGS[durability];
    const result = { tenant, durability: durability ?? null };
    process.stdout.write(
      options.json ? `${JSON.stringify(result)}\n` : `${tenant} has the durability ${detail}: ${meaning}\n`,
    );
    return 0;
  });
}

/** @returns undefined for `default` @throws UsageError */
function readDurabilityOption(text: string): Durability | undefined {
  if (text === 'default') return undefined;
  if (isDurability(text)) return text;
  throw new UsageError(`--durability takes ${DURABILITIES.join(', ')} or default, and not ${text}.`);
}
