import { requireFromPostgresPeer } from '../peers/postgres-peer.ts';
import type { Driver, Parameters } from './driver.ts';

/** What is used of the package `pg`, which is installed with the peer. */
interface PgClient {
  query(query: { name: string; text: string; values: unknown[] } | string): Promise<{
    rows: unknown[];
    rowCount: number | null;
  }>;
  release(): void;
}
interface PgPool extends Omit<PgClient, 'release'> {
  connect(): Promise<PgClient>;
  end(): Promise<void>;
}

/**
 * PostgreSQL through `pg`: a pool, named prepared statements, and a schema for each tenant (the way a tree of files
 * moves over). Statements name their tables with the tenant's schema.
 */
export async function openPostgresDriver(spec: { url: string; connections: number }): Promise<Driver> {
  const { Pool } = requireFromPostgresPeer('pg') as { Pool: new (options: object) => PgPool };
  const pool = new Pool({ connectionString: spec.url, max: spec.connections });
  const translated = new Map<string, { name: string; text: string }>();

  const translate = (tenant: string, sql: string, params: Parameters) => {
    const key = `${tenant}\n${sql}`;
    let statement = translated.get(key);
    if (statement === undefined) {
      let number = 0;
      const text = sql.replace(/\?/g, () => `$${++number}`).replace(TABLE, `$1"${tenant}".`);
      statement = { name: `s${translated.size}`, text };
      translated.set(key, statement);
    }
    return { ...statement, values: [...params] };
  };

  return {
    script: async (tenant, statements) => {
      const client = await pool.connect();
      try {
        await client.query(`CREATE SCHEMA IF NOT EXISTS "${tenant}"`);
        await client.query(`SET search_path TO "${tenant}"`);
        for (const sql of statements) await client.query(sql);
        await client.query('RESET search_path');
      } finally {
        client.release();
      }
    },
    write: async (tenant, sql, params) => (await pool.query(translate(tenant, sql, params))).rowCount ?? 0,
    read: async (tenant, sql, params) => (await pool.query(translate(tenant, sql, params))).rows[0],
    transaction: async (tenant, statements) => {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        for (const { sql, params } of statements) await client.query(translate(tenant, sql, params));
        await client.query('COMMIT');
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      } finally {
        client.release();
      }
    },
    proveDurability: async () => {
      const { rows } = await pool.query(
        "SELECT current_setting('synchronous_commit') AS commit, current_setting('fsync') AS sync",
      );
      const [{ commit, sync }] = rows as [{ commit: string; sync: string }];
      return `synchronous_commit=${commit} fsync=${sync}`;
    },
    close: () => pool.end(),
  };
}

/** What stands before a table's name in the workloads' statements. */
const TABLE = /\b(INSERT INTO |UPDATE |FROM )/g;
