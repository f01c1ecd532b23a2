import { connect, type Statement } from '@onewriter/sdk';
import type { Driver, Parameters } from './driver.ts';

/** Onewriter, used as its README says: statements are prepared once per tenant. */
export async function openSdkDriver(spec: { redisUrl: string; dataDir: string }): Promise<Driver> {
  const onewriter = await connect({ redis: spec.redisUrl, dataDir: spec.dataDir });
  const prepared = new Map<string, Map<string, Statement>>();

  const statement = (tenant: string, sql: string): Statement => {
    let statements = prepared.get(tenant);
    if (statements === undefined) {
      statements = new Map();
      prepared.set(tenant, statements);
    }
    let found = statements.get(sql);
    if (found === undefined) {
      found = onewriter.tenant(tenant).prepare(sql);
      statements.set(sql, found);
    }
    return found;
  };

  return {
    script: async (tenant, statements) => void (await onewriter.tenant(tenant).exec(statements.join(';\n'))),
    write: async (tenant, sql, params: Parameters) => (await statement(tenant, sql).run(...params)).changes,
    read: (tenant, sql, params) => statement(tenant, sql).get(...params),
    transaction: async (tenant, statements) =>
      void (await onewriter
        .tenant(tenant)
        .transaction(statements.map(({ sql, params }) => ({ sql, params })))),
    proveDurability: async tenant => {
      // In a transaction, so that the writer's own connection answers and not a reader's.
      const [result] = await onewriter.tenant(tenant).transaction([{ sql: 'PRAGMA synchronous' }]);
      return `synchronous=${result?.rows?.[0]?.['synchronous']}`;
    },
    close: () => onewriter.close(),
  };
}
