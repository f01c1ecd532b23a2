import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '@libsql/client';
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { splitScript } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { drizzle, migrate } from '@onewriter/sdk/drizzle';
import { OnewriterDialect } from '@onewriter/sdk/kysely';
import { type Stack, startStack, temporaryDirectory } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { drizzle as drizzleLibsql } from 'drizzle-orm/libsql';
import { migrate as migrateLibsql } from 'drizzle-orm/libsql/migrator';
import { Kysely, type Migration, Migrator, SqliteDialect, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openDoors, STREAM } from './doors.ts';

/*
 * Migrations of real tools, as they sent them to a plain file (migrations/recorded), through every interface: the same schema and
 * rows as on that file. Three tables with 1,000 rows, each referring to the one before with ON DELETE CASCADE.
 */

const PLACE = fileURLToPath(new URL('./migrations/', import.meta.url));
const RECORDED = join(PLACE, 'recorded');
const SEED = readFileSync(join(PLACE, 'seed.sql'), 'utf8');
const OURS = '%onewriter%';
const SCHEMA = `SELECT type, name, tbl_name, sql FROM sqlite_schema
  WHERE name NOT LIKE '${OURS}' AND tbl_name NOT LIKE '${OURS}' ORDER BY type, name`;

interface Tool {
  readonly name: string;
  readonly version: string;
  readonly steps: readonly { readonly name: string; readonly statements: readonly string[] }[];
}

const TOOLS = readdirSync(RECORDED).map(readTool);

function readTool(folder: string): Tool {
  const path = join(RECORDED, folder);
  const { tool, version } = JSON.parse(readFileSync(join(path, 'tool.json'), 'utf8'));
  const files = readdirSync(path).filter(file => file.endsWith('.sql'));
  const steps = files.sort().map(name => {
    return { name, statements: splitScript(readFileSync(join(path, name), 'utf8')) };
  });
  return { name: tool, version, steps };
}

let stack: Stack;
let onewriter: Onewriter;
let tenants = 0;
const DOORS = openDoors(
  () => stack,
  () => onewriter,
);

beforeAll(async () => {
  stack = await startStack();
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});
afterAll(async () => {
  await onewriter?.close();
  await stack?.stop();
});

type Query = (sql: string) => Promise<readonly unknown[]>;

/** The schema, and the rows of each table. */
async function contentOf(query: Query): Promise<Record<string, readonly unknown[]>> {
  const schema = (await query(SCHEMA)) as readonly { type: string; name: string }[];
  const content: Record<string, readonly unknown[]> = { schema };
  for (const { type, name } of schema) {
    if (type === 'table')
      content[name] = (await query(`SELECT * FROM "${name}" ORDER BY 1`)).map(withoutTime);
  }
  return content;
}

/** MikroORM's table of migrations has the time as a default. */
function withoutTime(row: unknown): unknown {
  return Object.fromEntries(Object.entries(row as object).filter(([name]) => name !== 'executed_at'));
}

const contentOfTenant = (tenant: string) => contentOf(text => onewriter.tenant(tenant).prepare(text).all());

async function expectRows(query: Query): Promise<void> {
  for (const table of ['teams', 'projects', 'tasks']) {
    expect([table, ...(await query(`SELECT count(*) AS n FROM ${table}`))]).toEqual([table, { n: 1000 }]);
  }
  expect(await query('PRAGMA foreign_key_check')).toEqual([]);
}

function openPlain(): { readonly db: Database.Database; readonly query: Query } {
  const db = new Database(':memory:');
  onTestFinished(() => {
    db.close();
  });
  return { db, query: async text => db.prepare(text).all() };
}

/** Their rebuilds stand outside of BEGIN … COMMIT, so they need one request. */
const WITHOUT_BEGIN: ReadonlySet<string> = new Set(['@mikro-orm/core', 'drizzle-kit', 'prisma', 'sequelize']);

describe.each(TOOLS)('the migrations of $name $version', ({ name: tool, steps }) => {
  const isKnownToNeed = (door: string) => door === STREAM && WITHOUT_BEGIN.has(tool);

  it.each(Object.entries(DOORS).filter(([door]) => !isKnownToNeed(door)))(
    'have the result of a plain file through %s',
    async (_door, send) => {
      const plain = openPlain();
      const tenant = `migrated-${++tenants}`;
      for (const [index, { statements }] of steps.entries()) {
        plain.db.exec(statements.join(';\n'));
        await send(tenant, statements);
        if (index > 0) continue;
        plain.db.exec(SEED);
        await onewriter.tenant(tenant).exec(SEED);
      }
      await expectRows(plain.query);
      expect(await contentOfTenant(tenant)).toEqual(await contentOf(plain.query));
    },
  );

  if (!isKnownToNeed(STREAM)) return;
  it(`are refused, and no row is lost, through ${STREAM}`, async () => {
    const send = DOORS[STREAM]!;
    const tenant = `refused-${++tenants}`;
    await send(tenant, steps[0]!.statements);
    await onewriter.tenant(tenant).exec(SEED);
    const sendOthers = async () => {
      for (const { statements } of steps.slice(1)) await send(tenant, statements);
    };
    await expect(sendOthers()).rejects.toThrow(/between BEGIN and COMMIT|has no effect alone/);
    await expectRows(text => onewriter.tenant(tenant).prepare(text).all());
  });
});

describe('the migration of MikroORM as it is by default, which turns foreign keys off within a transaction', () => {
  const [create, , change] = TOOLS.find(({ name }) => name === '@mikro-orm/core')!.steps;
  const within = ['BEGIN', 'SAVEPOINT trx1', ...change!.statements, 'RELEASE SAVEPOINT trx1', 'COMMIT'];

  it.each(Object.entries(DOORS))('loses no row that refers to another through %s', async (_, send) => {
    const tenant = `within-${++tenants}`;
    await onewriter.tenant(tenant).exec(`${create!.statements.join(';')}; ${SEED}`);
    await send(tenant, within).catch((error: Error) => {
      expect(error.message).toMatch(/Send it in front of BEGIN/);
    });
    await expectRows(text => onewriter.tenant(tenant).prepare(text).all());
  });

  it('does on a plain file', () => {
    const { db } = openPlain();
    db.exec(`${create!.statements.join(';')}; ${SEED}`);
    db.exec(within.join(';'));
    expect(db.prepare('SELECT count(*) FROM tasks').pluck().get()).toBe(0);
  });
});

describe("drizzle-kit's folder, with Drizzle's own migrator", () => {
  const migrationsFolder = join(RECORDED, 'drizzle');
  const journal = readFileSync(join(migrationsFolder, 'meta', '_journal.json'), 'utf8');
  const libsqlOf = (tenant: string) => {
    const client = createClient({ url: `${stack.gatewayUrl}/t/${tenant}/`, authToken: stack.token });
    onTestFinished(() => client.close());
    return drizzleLibsql(client);
  };

  it.each<[string, (tenant: string, folder: string) => Promise<void>]>([
    ['the SDK', (tenant, folder) => migrate(drizzle(onewriter.tenant(tenant)), { migrationsFolder: folder })],
    ['the libSQL driver', (tenant, folder) => migrateLibsql(libsqlOf(tenant), { migrationsFolder: folder })],
  ])('has the result of a plain file through %s', async (_, run) => {
    const tenant = `drizzle-${++tenants}`;
    // The first alone: rows come before the others.
    const first = await temporaryDirectory('drizzle');
    onTestFinished(() => first.remove());
    cpSync(migrationsFolder, first.path, { recursive: true });
    const only = JSON.parse(journal);
    only.entries.length = 1;
    writeFileSync(join(first.path, 'meta', '_journal.json'), JSON.stringify(only));
    await run(tenant, first.path);
    await onewriter.tenant(tenant).exec(SEED);
    await run(tenant, migrationsFolder);
    const plain = openPlain();
    for (const [index, { statements }] of TOOLS.find(({ name }) => name === 'drizzle-kit')!.steps.entries()) {
      plain.db.exec(statements.join(';\n'));
      if (index === 0) plain.db.exec(SEED);
    }
    const {
      __drizzle_migrations: done,
      sqlite_sequence: _sequence,
      ...content
    } = await contentOfTenant(tenant);
    expect(done).toHaveLength(4);
    const { schema, ...expected } = await contentOf(plain.query);
    expect(content).toEqual({
      ...expected,
      schema: expect.arrayContaining(schema as unknown[]),
    });
  });
});

describe("Kysely's migrator", () => {
  const reference = (column: string, to: string) =>
    sql`${sql.ref(column)} integer not null references ${sql.table(to)} (id) on delete cascade`;

  /** @param rebuild runs statements as one transaction without foreign keys. */
  function migrationsFor(rebuild: (db: Kysely<unknown>, texts: readonly string[]) => Promise<void>) {
    const migrations: Record<string, Migration> = {
      '1-create': {
        up: async db => {
          await sql`create table teams (id integer primary key, name text)`.execute(db);
          await sql`create table projects (id integer primary key, ${reference('team_id', 'teams')}, name text, budget text, legacy text)`.execute(
            db,
          );
          await sql`create table tasks (id integer primary key, ${reference('project_id', 'projects')}, title text)`.execute(
            db,
          );
        },
      },
      '2-add-and-rename': {
        up: async db => {
          await db.schema
            .alterTable('teams')
            .addColumn('plan', 'text', column => column.notNull().defaultTo('free'))
            .execute();
          await db.schema.alterTable('tasks').renameColumn('title', 'subject').execute();
          await db.schema.createIndex('projects_team').on('projects').column('team_id').execute();
        },
      },
      '3-change-and-drop': {
        up: async db => {
          await db.schema.alterTable('projects').dropColumn('legacy').execute();
          await rebuild(db, [
            'create table new_projects (id integer primary key, team_id integer not null references teams (id) on delete cascade, name text, budget integer)',
            'insert into new_projects select id, team_id, name, budget from projects',
            'drop table projects',
            'alter table new_projects rename to projects',
          ]);
        },
      },
      '4-foreign-key': {
        up: async db => {
          await db.schema
            .createTable('people')
            .addColumn('id', 'integer', column => column.primaryKey())
            .execute();
          await db.schema
            .alterTable('tasks')
            .addColumn('owner_id', 'integer', column => column.references('people.id').onDelete('set null'))
            .execute();
        },
      },
    };
    return migrations;
  }

  const within = (db: Kysely<unknown>, texts: readonly string[]) =>
    db.transaction().execute(async trx => {
      for (const text of ['PRAGMA foreign_keys=OFF', ...texts]) await sql.raw(text).execute(trx);
    });
  /** In a transaction SQLite ignores the PRAGMA. */
  const around = async (db: Kysely<unknown>, texts: readonly string[]) => {
    await sql`PRAGMA foreign_keys=OFF`.execute(db);
    await db.transaction().execute(async trx => {
      for (const text of texts) await sql.raw(text).execute(trx);
    });
    await sql`PRAGMA foreign_keys=ON`.execute(db);
  };

  async function migrateAll(db: Kysely<unknown>, rebuild: typeof within, seed: () => unknown) {
    const migrations = migrationsFor(rebuild);
    const provider = { getMigrations: async () => migrations };
    // Each migration alone: one transaction around all has written before the rebuild begins.
    const migrator = new Migrator({ db, provider, disableTransactions: true });
    for (const [index, name] of Object.keys(migrations).entries()) {
      const { error } = await migrator.migrateTo(name);
      expect([name, error]).toEqual([name, undefined]);
      if (index === 0) await seed();
    }
    await db.destroy();
  }

  it.each<[string, (tenant: string) => Kysely<unknown>]>([
    [
      'the SDK',
      tenant => new Kysely({ dialect: new OnewriterDialect({ tenant: onewriter.tenant(tenant) }) }),
    ],
    [
      '@libsql/kysely-libsql',
      tenant =>
        new Kysely({
          dialect: new LibsqlDialect({ url: `${stack.gatewayUrl}/t/${tenant}/`, authToken: stack.token }),
        }),
    ],
  ])('has the result of a plain file through %s', async (_, open) => {
    const file = new Database(':memory:');
    await migrateAll(new Kysely({ dialect: new SqliteDialect({ database: keptOpen(file) }) }), around, () =>
      file.exec(SEED),
    );
    onTestFinished(() => {
      file.close();
    });
    const tenant = `kysely-${++tenants}`;
    await migrateAll(open(tenant), within, () => onewriter.tenant(tenant).exec(SEED));
    const { kysely_migration: expectedRuns, ...expected } = await contentOf(async text =>
      file.prepare(text).all(),
    );
    const { kysely_migration: runs, ...content } = await contentOfTenant(tenant);
    expect(content).toEqual(expected);
    expect(runs).toHaveLength(expectedRuns!.length);
    await expectRows(text => onewriter.tenant(tenant).prepare(text).all());
  });

  /** The dialect closes it before its content was compared. */
  function keptOpen(file: Database.Database): Database.Database {
    return new Proxy(file, {
      get: (target, name) => {
        if (name === 'close') return () => undefined;
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }
});
