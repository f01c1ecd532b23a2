import {
  createTableRelationsHelpers,
  DefaultLogger,
  type DrizzleConfig,
  type ExtractTablesWithRelations,
  entityKind,
  extractTablesRelationalConfig,
  type RelationalSchemaConfig,
} from 'drizzle-orm';
import type { BatchItem, BatchResponse } from 'drizzle-orm/batch';
import { BaseSQLiteDatabase, SQLiteAsyncDialect } from 'drizzle-orm/sqlite-core';
import type { Tenant, WaitOptions } from '../../types.ts';
import { type DrizzleRunResult, OnewriterSession } from './drizzle-session.ts';

/** Drizzle's settings, and how long each statement waits (default: as the client). */
export interface OnewriterDrizzleConfig<TSchema extends Record<string, unknown>>
  extends DrizzleConfig<TSchema> {
  readonly wait?: WaitOptions | undefined;
}

/** A database of Drizzle's, over a tenant. */
export class OnewriterDatabase<
  TSchema extends Record<string, unknown> = Record<string, never>,
> extends BaseSQLiteDatabase<'async', DrizzleRunResult, TSchema> {
  static override readonly [entityKind]: string = 'OnewriterDatabase';
  /** The database beneath. */
  readonly $client: Tenant;
  readonly #session: OnewriterSession<TSchema, ExtractTablesWithRelations<TSchema>>;

  /** Made by {@link drizzle}. */
  constructor(
    tenant: Tenant,
    dialect: SQLiteAsyncDialect,
    session: OnewriterSession<TSchema, ExtractTablesWithRelations<TSchema>>,
    schema: RelationalSchemaConfig<ExtractTablesWithRelations<TSchema>> | undefined,
  ) {
    super('async', dialect, session as never, schema);
    this.$client = tenant;
    this.#session = session;
  }

  /**
   * Runs queries as a whole or not at all, in one round trip: all are known beforehand, so that nothing is held open.
   * Reads among them see the writes before them.
   *
   * @throws OnewriterError as Tenant.transaction, with `details.statementIndex`
   */
  async batch<First extends BatchItem<'sqlite'>, Items extends Readonly<[First, ...First[]]>>(
    items: Items,
  ): Promise<BatchResponse<Items>> {
    return (await this.#session.batch(items)) as BatchResponse<Items>;
  }
}

/**
 * Drizzle over the SDK: reads run directly on the tenant's file, writes go to its writer.
 *
 * `db.transaction()` is an interactive transaction, which holds up the tenant's other writes until it ends; where all
 * statements are known beforehand, `db.batch()` is one round trip and holds nothing up. Drizzle wraps errors: the
 * OnewriterError is the `cause`.
 *
 * @param tenant the database; the client it comes from stays yours to close
 * @example
 * const db = drizzle(onewriter.tenant('acme'), { schema });
 */
export function drizzle<TSchema extends Record<string, unknown> = Record<string, never>>(
  tenant: Tenant,
  config: OnewriterDrizzleConfig<TSchema> = {},
): OnewriterDatabase<TSchema> {
  const { wait = {}, casing, cache } = config;
  const dialect = new SQLiteAsyncDialect(casing === undefined ? {} : { casing });
  const schema = config.schema && relationsOf<TSchema>(config.schema);
  const logger = config.logger === true ? new DefaultLogger() : config.logger || undefined;
  const options = { ...(logger && { logger }), ...(cache && { cache }) };
  const session = new OnewriterSession<TSchema, ExtractTablesWithRelations<TSchema>>({
    tenant,
    wait,
    dialect,
    schema,
    options,
  });
  return new OnewriterDatabase<TSchema>(tenant, dialect, session, schema);
}

function relationsOf<TSchema extends Record<string, unknown>>(fullSchema: TSchema) {
  const { tables, tableNamesMap } = extractTablesRelationalConfig(fullSchema, createTableRelationsHelpers);
  return { fullSchema, schema: tables, tableNamesMap } as unknown as RelationalSchemaConfig<
    ExtractTablesWithRelations<TSchema>
  >;
}
