import { connect, type Onewriter, type Statement, type Tenant } from '@onewriter/sdk';
import type { Driver, Parameters } from './driver.ts';

/** Onewriter, used as its README says: statements are prepared once per tenant. */
export async function openSdkDriver(spec: {
  redisUrl: string;
  dataDir: string | undefined;
  clients?: number | undefined;
}): Promise<Driver> {
  const clients = await Promise.all(
    Array.from({ length: spec.clients ?? 1 }, () => connect({ redis: spec.redisUrl, dataDir: spec.dataDir })),
  );
  const owners = new Map<string, Onewriter>();
  /** Tenants go to the clients in turns. */
  const tenantOf = (id: string): Tenant => {
    let owner = owners.get(id);
    if (owner === undefined) {
      owner = clients[owners.size % clients.length]!;
      owners.set(id, owner);
    }
    return owner.tenant(id);
  };
  const prepared = new Map<string, Map<string, Statement>>();

  const statement = (tenant: string, sql: string): Statement => {
    let statements = prepared.get(tenant);
    if (statements === undefined) {
      statements = new Map();
      prepared.set(tenant, statements);
    }
    let found = statements.get(sql);
    if (found === undefined) {
      found = tenantOf(tenant).prepare(sql);
      statements.set(sql, found);
    }
    return found;
  };

  return {
    script: async (tenant, statements) => void (await tenantOf(tenant).exec(statements.join(';\n'))),
    write: async (tenant, sql, params: Parameters) => (await statement(tenant, sql).run(...params)).changes,
    read: (tenant, sql, params) => statement(tenant, sql).get(...params),
    transaction: async (tenant, statements) =>
      void (await tenantOf(tenant).transaction(statements.map(({ sql, params }) => ({ sql, params })))),
    proveDurability: async tenant => {
      // In a transaction, so that the writer's own connection answers and not a reader's.
      const [result] = await tenantOf(tenant).transaction([{ sql: 'PRAGMA synchronous' }]);
      return `synchronous=${result?.rows?.[0]?.['synchronous']}`;
    },
    close: async () => void (await Promise.all(clients.map(client => client.close()))),
  };
}
