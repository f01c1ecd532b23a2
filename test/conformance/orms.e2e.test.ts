import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Client, createClient } from '@libsql/client';
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { type Stack, startStack, temporaryDirectory } from '@onewriter/testkit';
import { eq, relations, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/libsql';
import { migrate } from 'drizzle-orm/libsql/migrator';
import { blob, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { type Generated, Kysely, sql as kyselySql, Migrator } from 'kysely';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * Libraries on top of @libsql/client, against a running Onewriter: tables.e2e.test.ts lists what each test shows.
 */

let stack: Stack;
let tenants = 0;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.stop());

function newTenant(): string {
  return `${stack.gatewayUrl}/t/orm-${++tenants}/`;
}

function openClient(url = newTenant()): Client {
  const client = createClient({ url, authToken: stack.token });
  onTestFinished(() => client.close());
  return client;
}

describe('Drizzle, libsql driver', () => {
  const lists = sqliteTable('lists', {
    id: integer().primaryKey({ autoIncrement: true }),
    name: text().notNull().unique(),
  });
  const tasks = sqliteTable('tasks', {
    id: integer().primaryKey(),
    list: integer()
      .notNull()
      .references(() => lists.id, { onDelete: 'cascade' }),
    title: text().notNull(),
    done: integer({ mode: 'boolean' }).notNull().default(false),
    due: integer({ mode: 'timestamp_ms' }),
    weight: real(),
    data: blob({ mode: 'buffer' }),
    tags: text({ mode: 'json' }).$type<string[]>(),
  });
  const schema = {
    lists,
    tasks,
    listRelations: relations(lists, ({ many }) => ({ tasks: many(tasks) })),
    taskRelations: relations(tasks, ({ one }) => ({
      parent: one(lists, { fields: [tasks.list], references: [lists.id] }),
    })),
  };

  /** Migrations as drizzle-kit writes them; the second rebuilds a table, as SQLite needs for most changes. */
  const MIGRATIONS = [
    [
      'CREATE TABLE `lists` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` text NOT NULL)',
      'CREATE TABLE `tasks` (`id` integer PRIMARY KEY NOT NULL, `list` integer NOT NULL, `title` text NOT NULL, `done` integer DEFAULT false NOT NULL, `due` integer, `weight` real, `data` blob, `tags` text, FOREIGN KEY (`list`) REFERENCES `lists`(`id`) ON UPDATE no action ON DELETE cascade)',
    ],
    [
      'PRAGMA foreign_keys=OFF',
      'CREATE TABLE `__new_lists` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` text NOT NULL)',
      'INSERT INTO `__new_lists`("id", "name") SELECT "id", "name" FROM `lists`',
      'DROP TABLE `lists`',
      'ALTER TABLE `__new_lists` RENAME TO `lists`',
      'PRAGMA foreign_keys=ON',
      'CREATE UNIQUE INDEX `lists_name_unique` ON `lists` (`name`)',
    ],
  ];

  async function writeMigrations(count: number): Promise<string> {
    const directory = await temporaryDirectory('drizzle');
    onTestFinished(() => directory.remove());
    await mkdir(join(directory.path, 'meta'));
    const entries = [];
    for (const [index, statements] of MIGRATIONS.slice(0, count).entries()) {
      const tag = `000${index}_step`;
      await writeFile(join(directory.path, `${tag}.sql`), statements.join(';--> statement-breakpoint\n'));
      entries.push({ idx: index, version: '6', when: 1_700_000_000_000 + index, tag, breakpoints: true });
    }
    const journal = { version: '7', dialect: 'sqlite', entries };
    await writeFile(join(directory.path, 'meta', '_journal.json'), JSON.stringify(journal));
    return directory.path;
  }

  async function open() {
    const client = openClient();
    const db = drizzle(client, { schema });
    await migrate(db, { migrationsFolder: await writeMigrations(1) });
    return { client, db };
  }

  it('migrates, also where a table is rebuilt that others refer to', async () => {
    const { client, db } = await open();
    await db.insert(lists).values({ id: 1, name: 'inbox' });
    await db.insert(tasks).values({ list: 1, title: 'kept' });
    const migrationsFolder = await writeMigrations(2);
    await migrate(db, { migrationsFolder });
    await migrate(db, { migrationsFolder });
    expect(await db.select({ title: tasks.title }).from(tasks)).toEqual([{ title: 'kept' }]);
    await expect(client.execute("INSERT INTO lists(name) VALUES ('inbox')")).rejects.toMatchObject({
      code: 'SQLITE_CONSTRAINT',
    });
    await expect(client.execute("INSERT INTO tasks(list, title) VALUES (99, 'x')")).rejects.toMatchObject({
      code: 'SQLITE_CONSTRAINT',
    });
    expect((await client.execute('SELECT count(*) AS n FROM __drizzle_migrations')).rows[0]!['n']).toBe(2);
  });

  it('inserts, updates and deletes, with RETURNING, and queries relations', async () => {
    const { db } = await open();
    const [inbox] = await db.insert(lists).values({ name: 'inbox' }).returning();
    expect(inbox).toEqual({ id: 1, name: 'inbox' });
    const task = {
      list: 1,
      title: 'é',
      done: true,
      due: new Date(1_700_000_000_123),
      weight: 2,
      data: Buffer.from([1, 2]),
      tags: ['a', 'b'],
    };
    expect(await db.insert(tasks).values(task).returning()).toEqual([{ id: 1, ...task }]);
    await db.insert(tasks).values([
      { list: 1, title: 'two' },
      { list: 1, title: 'three' },
    ]);
    const upsert = db.insert(tasks).values({ id: 2, list: 1, title: 'x' });
    await upsert.onConflictDoUpdate({ target: tasks.id, set: { title: 'second' } });
    expect(
      await db.update(tasks).set({ weight: 0.5 }).where(eq(tasks.id, 3)).returning({ id: tasks.id }),
    ).toEqual([{ id: 3 }]);
    const deleted = await db.delete(tasks).where(eq(tasks.id, 3));
    expect(deleted.rowsAffected).toBe(1);
    const found = await db.query.lists.findFirst({ with: { tasks: { columns: { title: true } } } });
    expect(found).toEqual({ id: 1, name: 'inbox', tasks: [{ title: 'é' }, { title: 'second' }] });
    const prepared = db
      .select()
      .from(tasks)
      .where(eq(tasks.id, sql.placeholder('id')))
      .prepare();
    expect(await prepared.get({ id: 1 })).toEqual({ id: 1, ...task });
    expect(await db.get(sql`SELECT count(*) AS n FROM ${tasks}`)).toEqual({ n: 2 });
  });

  it('runs batches, whole or not at all', async () => {
    const { db } = await open();
    const [inserted, all] = await db.batch([
      db.insert(lists).values({ name: 'a' }).returning(),
      db.select().from(lists),
    ]);
    expect([inserted, all]).toEqual([[{ id: 1, name: 'a' }], [{ id: 1, name: 'a' }]]);
    await expect(
      db.batch([db.insert(lists).values({ name: 'b' }), db.insert(tasks).values({ list: 99, title: 'x' })]),
    ).rejects.toThrow();
    expect(await db.select().from(lists)).toHaveLength(1);
  });

  it('nests transactions', async () => {
    const { db } = await open();
    await db.transaction(async tx => {
      await tx.insert(lists).values({ name: 'outer' });
      await tx.transaction(async inner => {
        await inner.insert(lists).values({ name: 'kept' });
      });
      await expect(
        tx.transaction(async inner => {
          await inner.insert(lists).values({ name: 'dropped' });
          inner.rollback();
        }),
      ).rejects.toThrow('Rollback');
      await expect(tx.insert(tasks).values({ list: 99, title: 'x' })).rejects.toThrow();
      expect(await tx.select().from(lists)).toHaveLength(2);
    });
    expect((await db.select().from(lists)).map(({ name }) => name)).toEqual(['outer', 'kept']);
    const failing = db.transaction(async tx => {
      await tx.delete(lists);
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    expect(await db.select().from(lists)).toHaveLength(2);
  });
});

describe('Kysely, @libsql/kysely-libsql', () => {
  interface Schema {
    person: { id: Generated<number>; name: string; age: number | null };
    pet: { id: Generated<number>; owner: number; name: string };
  }

  function open(): Kysely<Schema> {
    const db = new Kysely<Schema>({
      // The client that the dialect brings along is older than ours.
      dialect: new LibsqlDialect({ url: newTenant(), authToken: stack.token }),
    });
    onTestFinished(() => db.destroy());
    return db;
  }

  async function openWithTables(): Promise<Kysely<Schema>> {
    const db = open();
    const migrator = new Migrator({
      db,
      provider: {
        getMigrations: async () => ({
          '1_person': {
            up: async (on: Kysely<unknown>) => {
              await on.schema
                .createTable('person')
                .addColumn('id', 'integer', column => column.primaryKey().autoIncrement())
                .addColumn('name', 'text', column => column.notNull().unique())
                .addColumn('age', 'integer')
                .execute();
            },
          },
          '2_pet': {
            up: async (on: Kysely<unknown>) => {
              await on.schema
                .createTable('pet')
                .addColumn('id', 'integer', column => column.primaryKey())
                .addColumn('owner', 'integer', column => column.references('person.id').notNull())
                .addColumn('name', 'text', column => column.notNull())
                .execute();
            },
          },
        }),
      },
    });
    const { error, results } = await migrator.migrateToLatest();
    expect([error, results?.map(({ status }) => status)]).toEqual([undefined, ['Success', 'Success']]);
    return db;
  }

  it('migrates, and sees the schema', async () => {
    const db = await openWithTables();
    const tables = await db.introspection.getTables();
    expect(tables.map(({ name }) => name)).toEqual(['person', 'pet']);
    const person = tables.find(({ name }) => name === 'person')!;
    expect(
      person.columns.map(({ name, dataType, isNullable, isAutoIncrementing }) => [
        name,
        dataType,
        isNullable,
        isAutoIncrementing,
      ]),
    ).toEqual([
      ['id', 'INTEGER', true, true],
      ['name', 'TEXT', false, false],
      ['age', 'INTEGER', true, false],
    ]);
  });

  it('queries and changes rows', async () => {
    const db = await openWithTables();
    const added = await db.insertInto('person').values({ name: 'ann', age: 30 }).executeTakeFirstOrThrow();
    expect(added.insertId).toBe(1n);
    expect(await db.insertInto('person').values({ name: 'bob' }).returningAll().executeTakeFirst()).toEqual({
      id: 2,
      name: 'bob',
      age: null,
    });
    await db.insertInto('pet').values({ owner: 1, name: 'rex' }).execute();
    const joined = await db
      .selectFrom('person')
      .innerJoin('pet', 'pet.owner', 'person.id')
      .select(['person.name as owner', 'pet.name as pet'])
      .execute();
    expect(joined).toMatchObject([{ owner: 'ann', pet: 'rex' }]);
    const updated = await db
      .updateTable('person')
      .set({ age: 31 })
      .where('name', '=', 'ann')
      .executeTakeFirst();
    expect(updated.numUpdatedRows).toBe(1n);
    const { rows } = await kyselySql<{
      n: number;
    }>`SELECT count(*) AS n FROM person WHERE age > ${30}`.execute(db);
    expect(rows).toMatchObject([{ n: 1 }]);
  });

  it('holds transactions', async () => {
    const db = await openWithTables();
    const id = await db.transaction().execute(async tx => {
      const { id } = await tx
        .insertInto('person')
        .values({ name: 'ann' })
        .returning('id')
        .executeTakeFirstOrThrow();
      await tx.insertInto('pet').values({ owner: id, name: 'rex' }).execute();
      return id;
    });
    const failing = db.transaction().execute(async tx => {
      await tx.deleteFrom('pet').execute();
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    expect(await db.selectFrom('pet').selectAll().execute()).toMatchObject([{ owner: id, name: 'rex' }]);
  });
});
