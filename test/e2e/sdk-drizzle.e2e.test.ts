import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Onewriter, OnewriterError, type Tenant } from '@onewriter/sdk';
import { drizzle, migrate, type OnewriterDatabase } from '@onewriter/sdk/drizzle';
import type { TemporaryDirectory } from '@onewriter/testkit';
import { count, eq, getTableName, relations, sql, TransactionRollbackError } from 'drizzle-orm';
import { blob, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { type Services, startServices } from './services.ts';

const people = sqliteTable('people', {
  id: integer().primaryKey({ autoIncrement: true }),
  name: text().notNull().unique(),
  admin: integer({ mode: 'boolean' }).notNull().default(false),
  bornAt: integer('born_at', { mode: 'timestamp_ms' }),
  score: real(),
  tags: text({ mode: 'json' }).$type<string[]>(),
  photo: blob({ mode: 'buffer' }),
  big: blob({ mode: 'bigint' }),
});
const pets = sqliteTable('pets', {
  id: integer().primaryKey(),
  ownerId: integer('owner_id')
    .notNull()
    .references(() => people.id, { onDelete: 'cascade' }),
  name: text().notNull(),
});
const schema = {
  people,
  pets,
  peopleRelations: relations(people, ({ many }) => ({ pets: many(pets) })),
  petsRelations: relations(pets, ({ one }) => ({
    owner: one(people, { fields: [pets.ownerId], references: [people.id] }),
  })),
};

/** As drizzle-kit writes them. */
const MIGRATIONS: readonly (readonly [tag: string, sql: string])[] = [
  [
    '0000_people',
    `CREATE TABLE \`people\` (
	\`id\` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	\`name\` text NOT NULL,
	\`admin\` integer DEFAULT false NOT NULL,
	\`born_at\` integer,
	\`score\` real,
	\`tags\` text,
	\`photo\` blob,
	\`big\` blob
);
--> statement-breakpoint
CREATE UNIQUE INDEX \`people_name_unique\` ON \`people\` (\`name\`);`,
  ],
  [
    '0001_pets',
    `CREATE TABLE \`pets\` (
	\`id\` integer PRIMARY KEY NOT NULL,
	\`owner_id\` integer NOT NULL,
	\`name\` text NOT NULL,
	FOREIGN KEY (\`owner_id\`) REFERENCES \`people\`(\`id\`) ON UPDATE no action ON DELETE cascade
);
`,
  ],
];

let services: Services;
let data: TemporaryDirectory;
let client: Onewriter;
let migrationsFolder: string;
let tenants = 0;
let tenant: Tenant;
let db: OnewriterDatabase<typeof schema>;

beforeAll(async () => {
  services = await startServices('drizzle');
  ({ data, client } = services);
  migrationsFolder = await writeMigrations('migrations', MIGRATIONS);
});

afterAll(() => services?.stop());

async function writeMigrations(name: string, migrations: typeof MIGRATIONS): Promise<string> {
  const folder = join(data.path, name);
  await mkdir(join(folder, 'meta'), { recursive: true });
  const entries = migrations.map(([tag], idx) => ({
    idx,
    version: '6',
    when: 1_000 + idx,
    tag,
    breakpoints: true,
  }));
  await writeFile(
    join(folder, 'meta/_journal.json'),
    JSON.stringify({ version: '7', dialect: 'sqlite', entries }),
  );
  for (const [tag, text] of migrations) await writeFile(join(folder, `${tag}.sql`), text);
  return folder;
}

beforeEach(async () => {
  tenant = client.tenant(`drizzle-${++tenants}`);
  db = drizzle(tenant, { schema });
  await migrate(db, { migrationsFolder });
});

/** The error of the SDK that Drizzle wrapped. */
const causeOf = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    () => undefined,
    (error: Error) => (error instanceof OnewriterError ? error : error.cause),
  );

describe('queries', () => {
  it('inserts, updates, deletes, and says what was done', async () => {
    const inserted = await db.insert(people).values([{ name: 'Ada' }, { name: 'Bob' }]);
    expect(inserted).toMatchObject({ changes: 2, lastInsertRowid: 2 });
    expectTypeOf(inserted.commitSeq).toEqualTypeOf<number | undefined>();
    expect(await db.update(people).set({ score: 1.5 }).where(eq(people.name, 'Ada'))).toMatchObject({
      changes: 1,
    });
    const deleted = await db.delete(people).where(eq(people.id, 1)).returning({ name: people.name });
    expect(deleted).toEqual([{ name: 'Ada' }]);
    const upserted = await db
      .insert(people)
      .values({ name: 'Bob', score: 9 })
      .onConflictDoUpdate({ target: people.name, set: { score: sql`excluded.score` } })
      .returning();
    expect(upserted).toMatchObject([{ id: 2, score: 9, admin: false }]);
    expect(await causeOf(db.insert(people).values({ name: 'Bob' }))).toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE' },
    });
  });

  it('maps values both ways', async () => {
    const person = {
      name: 'Zoé',
      admin: true,
      bornAt: new Date('2000-02-29T12:00:00.123Z'),
      score: 0.1,
      tags: ['a', 'b'],
      photo: Buffer.from([0, 255]),
      big: 2n ** 90n,
    };
    const [written] = await db.insert(people).values(person).returning();
    expect(written).toEqual({ id: 1, ...person });
    expect(await db.select().from(people)).toEqual([{ id: 1, ...person }]);
    expect(await db.query.people.findFirst({ columns: { bornAt: true } })).toEqual({ bornAt: person.bornAt });
  });

  it('joins, aggregates, and reads relations', async () => {
    await db.insert(people).values([{ name: 'Ada' }, { name: 'Bob' }]);
    await db.insert(pets).values([
      { ownerId: 1, name: 'Rex' },
      { ownerId: 1, name: 'Tom' },
    ]);
    const joined = await db
      .select({ name: people.name, pet: pets })
      .from(people)
      .leftJoin(pets, eq(pets.ownerId, people.id))
      .orderBy(people.id, pets.id);
    expect(joined).toEqual([
      { name: 'Ada', pet: { id: 1, ownerId: 1, name: 'Rex' } },
      { name: 'Ada', pet: { id: 2, ownerId: 1, name: 'Tom' } },
      { name: 'Bob', pet: null },
    ]);
    // Both have a column `name`.
    expect(
      await db.select().from(pets).innerJoin(people, eq(people.id, pets.ownerId)).limit(1),
    ).toMatchObject([{ people: { name: 'Ada' }, pets: { name: 'Rex' } }]);
    expect(await db.select({ pets: count() }).from(pets).groupBy(pets.ownerId)).toEqual([{ pets: 2 }]);
    expect(await db.$count(pets)).toBe(2);
    const found = await db.query.people.findMany({
      columns: { name: true },
      with: { pets: { columns: { name: true } } },
    });
    expect(found).toEqual([
      { name: 'Ada', pets: [{ name: 'Rex' }, { name: 'Tom' }] },
      { name: 'Bob', pets: [] },
    ]);
    expect(await db.select().from(people).where(eq(people.id, 77)).get()).toBeUndefined();
    const byId = db
      .select({ name: people.name })
      .from(people)
      .where(eq(people.id, sql.placeholder('id')))
      .prepare();
    expect(await byId.get({ id: 2 })).toEqual({ name: 'Bob' });
    await db.delete(people).where(eq(people.id, 1));
    expect(await db.select().from(pets)).toEqual([]);
  });

  it('runs plain SQL', async () => {
    expect(await db.run(sql`INSERT INTO people(name) VALUES (${'Ada'})`)).toMatchObject({ changes: 1 });
    expect(await db.all(sql`SELECT id, name FROM people`)).toEqual([{ id: 1, name: 'Ada' }]);
    expect(await db.get(sql`SELECT count(*) AS n FROM people`)).toEqual({ n: 1 });
    expect(await db.values(sql`SELECT id, name FROM people`)).toEqual([[1, 'Ada']]);
    expect(await db.get(sql`SELECT 1 WHERE 0`)).toBeUndefined();
    expect(await causeOf(db.run(sql`ATTACH 'x' AS y`))).toMatchObject({ code: 'STATEMENT_NOT_ALLOWED' });
  });
});

describe('batch', () => {
  it('runs queries as a whole, and answers as each of them would', async () => {
    const [inserted, rows, one, raw, rawOne, deleted] = await db.batch([
      db.insert(people).values({ name: 'Ada', admin: true }),
      db.select({ name: people.name, admin: people.admin }).from(people),
      db.query.people.findFirst({ columns: { id: true } }),
      db.all<{ n: number }>(sql`SELECT count(*) AS n FROM people`),
      db.get<{ n: number }>(sql`SELECT 7 AS n`),
      db.delete(people).returning({ id: people.id }),
    ]);
    expectTypeOf(rows).toEqualTypeOf<{ name: string; admin: boolean }[]>();
    expect(inserted).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    expect(rows).toEqual([{ name: 'Ada', admin: true }]);
    expect(one).toEqual({ id: 1 });
    expect(raw).toEqual([{ n: 1 }]);
    expect(rawOne).toEqual({ n: 7 });
    expect(deleted).toEqual([{ id: 1 }]);
  });

  it('applies nothing where one of them fails, and says which', async () => {
    const insert = () => db.insert(people).values({ name: 'Ada' });
    expect(await causeOf(db.batch([insert(), insert()]))).toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { statementIndex: 1 },
    });
    expect(await db.$count(people)).toBe(0);
  });
});

describe('transactions', () => {
  it('commit what they wrote, and see it before others do', async () => {
    const score = await db.transaction(async tx => {
      const { lastInsertRowid } = await tx.insert(people).values({ name: 'Ada', score: 1 });
      const row = await tx.query.people.findFirst({ where: eq(people.id, Number(lastInsertRowid)) });
      expect(await db.$count(people)).toBe(0);
      const [updated] = await tx
        .update(people)
        .set({ score: row!.score! + 1 })
        .returning();
      return updated!.score;
    });
    expect(score).toBe(2);
    expect(await db.select({ name: people.name, score: people.score }).from(people)).toEqual([
      { name: 'Ada', score: 2 },
    ]);
  });

  it('leave nothing behind where they fail', async () => {
    const insert = (tx: Pick<typeof db, 'insert'>) => tx.insert(people).values({ name: 'Ada' });
    const failing = db.transaction(async tx => {
      await insert(tx);
      await insert(tx);
    });
    expect(await causeOf(failing)).toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
    const undone = db.transaction(async tx => {
      await insert(tx);
      tx.rollback();
    });
    await expect(undone).rejects.toThrow(TransactionRollbackError);
    expect(await db.$count(people)).toBe(0);
  });

  it('are nested as savepoints', async () => {
    await db.transaction(async tx => {
      await tx.insert(people).values({ name: 'kept' });
      await tx
        .transaction(async inner => {
          await inner.insert(people).values({ name: 'undone' });
          inner.rollback();
        })
        .catch(() => {});
      await tx.transaction(async inner => {
        await inner.insert(people).values({ name: 'kept, too' });
        await inner.transaction(innermost => innermost.delete(people).where(eq(people.name, 'nobody')));
      });
    });
    const names = await db.select({ name: people.name }).from(people).orderBy(people.id);
    expect(names.map(({ name }) => name)).toEqual(['kept', 'kept, too']);
  });
});

describe('migrations', () => {
  const tables = () =>
    tenant
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'")
      .all();

  it('are applied once, in one transaction', async () => {
    const before = await db.all(sql`SELECT hash, created_at FROM __drizzle_migrations`);
    expect(before).toHaveLength(2);
    await migrate(db, { migrationsFolder });
    expect(await db.all(sql`SELECT hash, created_at FROM __drizzle_migrations`)).toEqual(before);

    const broken = await writeMigrations('broken', [
      ...MIGRATIONS,
      ['0002_good', 'CREATE TABLE good(id integer);'],
      [
        '0003_broken',
        'CREATE TABLE half(id integer);--> statement-breakpoint\nCREATE TABLE people(id integer);',
      ],
    ]);
    expect(await causeOf(migrate(db, { migrationsFolder: broken }))).toMatchObject({ code: 'SQL_ERROR' });
    expect(await tables()).not.toContainEqual({ name: 'good' });
    expect(await tables()).toContainEqual({ name: getTableName(people) });
  });

  it('copy a table that others refer to, and lose no row of those', async () => {
    await db.insert(people).values({ name: 'Ada' });
    await db.insert(pets).values({ ownerId: 1, name: 'Rex' });
    const rebuild = (where: string) => `PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE \`__new_people\` (\`id\` integer PRIMARY KEY NOT NULL, \`name\` text);--> statement-breakpoint
INSERT INTO \`__new_people\`("id", "name") SELECT "id", "name" FROM \`people\` ${where};--> statement-breakpoint
DROP TABLE \`people\`;--> statement-breakpoint
ALTER TABLE \`__new_people\` RENAME TO \`people\`;--> statement-breakpoint
PRAGMA foreign_keys=ON;`;
    const losing = await writeMigrations('losing', [...MIGRATIONS, ['0002_losing', rebuild('WHERE 0')]]);
    expect(await causeOf(migrate(db, { migrationsFolder: losing }))).toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY' },
    });
    const rebuilt = await writeMigrations('rebuilt', [...MIGRATIONS, ['0002_rebuilt', rebuild('')]]);
    await Promise.all([1, 2, 3].map(() => migrate(drizzle(tenant), { migrationsFolder: rebuilt })));
    expect(await db.all(sql`SELECT * FROM people JOIN pets ON owner_id = people.id`)).toHaveLength(1);
    expect(await db.all(sql`SELECT name FROM pragma_table_info('people')`)).toHaveLength(2);
    expect(await causeOf(db.insert(pets).values({ ownerId: 77, name: 'stray' }))).toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
    });
  });

  it('are applied by one of several processes that do it at the same time', async () => {
    const fresh = client.tenant(`drizzle-${++tenants}`);
    await Promise.all(
      Array.from({ length: 8 }, () => migrate(drizzle(fresh, { schema }), { migrationsFolder })),
    );
    expect(await drizzle(fresh).all(sql`SELECT id FROM __drizzle_migrations`)).toEqual([
      { id: 1 },
      { id: 2 },
    ]);
  });
});

it('logs and waits as configured', async () => {
  const lines: string[] = [];
  const logged = drizzle(tenant, { logger: { logQuery: line => lines.push(line) } });
  await logged.select({ id: people.id }).from(people);
  expect(lines).toEqual(['select "id" from "people"']);
  const cased = drizzle(tenant, { casing: 'snake_case' });
  const camel = sqliteTable('people', { bornAt: integer() });
  expect(cased.select().from(camel).toSQL().sql).toBe('select "born_at" from "people"');
  const impatient = drizzle(tenant, { wait: { timeoutMs: 0 } });
  expect(await causeOf(impatient.delete(pets))).toMatchObject({ code: 'INVALID_ARGUMENT' });
});
