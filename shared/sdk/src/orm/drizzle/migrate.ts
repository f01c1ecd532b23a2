import { OnewriterError, splitScript } from '@onewriter/protocol';
import { type SQL, sql } from 'drizzle-orm';
import { type MigrationConfig, readMigrationFiles } from 'drizzle-orm/migrator';
import { SQLiteAsyncDialect } from 'drizzle-orm/sqlite-core';
import type { SqlParameters, TransactionStatement } from '../../types.ts';
import { applyMigrations } from './apply-migrations.ts';
import type { OnewriterDatabase } from './drizzle.ts';

const DEFAULT_TABLE = '__drizzle_migrations';
/** Others that migrate the same tenant meanwhile; each may be ahead of us once per migration. */
const MAX_ATTEMPTS = 10;

/**
 * Brings a tenant up to date with the migrations that drizzle-kit generated: all that are missing are applied in one
 * transaction, or none is. Where several processes do it at the same time, one applies them and the others find them
 * applied.
 *
 * @param config the folder, and the name of the table that records what was applied
 * @throws OnewriterError as Tenant.transaction
 */
export async function migrate<TSchema extends Record<string, unknown>>(
  db: OnewriterDatabase<TSchema>,
  config: MigrationConfig,
): Promise<void> {
  const migrations = readMigrationFiles(config);
  const table = sql.identifier(config.migrationsTable ?? DEFAULT_TABLE);
  await db.run(
    sql`CREATE TABLE IF NOT EXISTS ${table}(id INTEGER PRIMARY KEY, hash TEXT NOT NULL, created_at NUMERIC)`,
  );
  for (let attempt = 1; ; attempt++) {
    const [[applied]] = (await db.values(sql`SELECT coalesce(max(created_at), -1) FROM ${table}`)) as [
      [number],
    ];
    const missing = migrations.filter(({ folderMillis }) => folderMillis > applied);
    if (missing.length === 0) return;
    const statements = missing.flatMap(({ sql: parts, hash, folderMillis }) => [
      ...parts.flatMap(part => splitScript(part)).map(statement => ({ sql: statement })),
      toStatement(sql`INSERT INTO ${table}(hash, created_at) VALUES (${hash}, ${folderMillis})`),
    ]);
    // No other process has migrated since the check.
    const unchanged = sql`SELECT 1 WHERE (SELECT coalesce(max(created_at), -1) FROM ${table}) = ${applied}`;
    if (await applyMigrations(db.$client, toStatement(unchanged), statements)) return;
    if (attempt === MAX_ATTEMPTS) {
      const message = `Others migrated the tenant ${attempt} times meanwhile.`;
      throw new OnewriterError('TENANT_BUSY', message, { tenant: db.$client.id });
    }
  }
}

function toStatement(query: SQL): TransactionStatement {
  const { sql: text, params } = new SQLiteAsyncDialect().sqlToQuery(query);
  return { sql: text, params: params as SqlParameters };
}
