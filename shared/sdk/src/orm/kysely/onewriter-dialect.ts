import {
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type Kysely,
  type QueryCompiler,
  SqliteAdapter,
  SqliteQueryCompiler,
} from 'kysely';
import type { Tenant, WaitOptions } from '../../types.ts';
import { OnewriterDriver } from './onewriter-driver.ts';
import { OnewriterIntrospector } from './onewriter-introspector.ts';

/** Settings of an {@link OnewriterDialect}. */
export interface OnewriterDialectConfig {
  /** The database; the client it comes from stays yours to close. */
  readonly tenant: Tenant;
  /** How long each statement waits; default: as the client. */
  readonly wait?: WaitOptions | undefined;
}

/**
 * Kysely over the SDK: reads run directly on the tenant's file, writes go to its writer.
 *
 * `db.transaction()` is an interactive transaction, which holds up the tenant's other writes until it ends; where all
 * statements are known beforehand, `batch()` of this module is one round trip and holds nothing up.
 *
 * @example
 * const db = new Kysely<Schema>({ dialect: new OnewriterDialect({ tenant: onewriter.tenant('acme') }) });
 */
export class OnewriterDialect implements Dialect {
  readonly #config: OnewriterDialectConfig;

  constructor(config: OnewriterDialectConfig) {
    this.#config = config;
  }

  createDriver(): Driver {
    return new OnewriterDriver(this.#config.tenant, this.#config.wait ?? {});
  }

  createQueryCompiler(): QueryCompiler {
    return new SqliteQueryCompiler();
  }

  createAdapter(): DialectAdapter {
    return new OnewriterAdapter();
  }

  // biome-ignore lint/suspicious/noExplicitAny: Kysely's own signature
  createIntrospector(db: Kysely<any>): DatabaseIntrospector {
    return new OnewriterIntrospector(db);
  }
}

/**
 * SQLite's. Migrations run in one interactive transaction: all that are missing or none, and of several processes that
 * migrate at the same time one after the other, which is also the lock.
 */
class OnewriterAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}
