import { type Onewriter, OnewriterError } from '@onewriter/sdk';
import { batch, OnewriterDialect } from '@onewriter/sdk/kysely';
import {
  CamelCasePlugin,
  type Generated,
  InsertResult,
  Kysely,
  type KyselyPlugin,
  type Migration,
  Migrator,
  sql,
  UpdateResult,
} from 'kysely';
import { jsonArrayFrom } from 'kysely/helpers/sqlite';
import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { type Services, startServices } from './services.ts';

interface Schema {
  person: {
    id: Generated<number>;
    name: string;
    age: number | null;
    big: number | bigint | null;
    photo: Uint8Array | null;
  };
  pet: { id: Generated<number>; owner_id: number; name: string };
}

let services: Services;
let client: Onewriter;
let tenants = 0;
let db: Kysely<Schema>;

beforeAll(async () => {
  services = await startServices('kysely');
  ({ client } = services);
});

afterAll(() => services?.stop());

function newDatabase<DB>(plugins: KyselyPlugin[] = []): Kysely<DB> {
  return new Kysely<DB>({
    dialect: new OnewriterDialect({ tenant: client.tenant(`kysely-${++tenants}`) }),
    plugins,
  });
}

beforeEach(async () => {
  db = newDatabase();
  await db.schema
    .createTable('person')
    .addColumn('id', 'integer', column => column.primaryKey().autoIncrement())
    .addColumn('name', 'text', column => column.notNull().unique())
    .addColumn('age', 'integer')
    .addColumn('big', 'integer')
    .addColumn('photo', 'blob')
    .execute();
  await db.schema
    .createTable('pet')
    .addColumn('id', 'integer', column => column.primaryKey())
    .addColumn('owner_id', 'integer', column => column.notNull().references('person.id').onDelete('cascade'))
    .addColumn('name', 'text', column => column.notNull())
    .execute();
});

const insertPeople = (...names: string[]) =>
  db.insertInto('person').values(names.map((name, index) => ({ name, age: 20 + index })));

describe('queries', () => {
  it('inserts, updates, deletes, and says what was done', async () => {
    const inserted = await insertPeople('Ada', 'Bob').executeTakeFirstOrThrow();
    expect(inserted).toEqual(new InsertResult(2n, 2n));
    const updated = await db.updateTable('person').set({ age: 40 }).where('age', '>', 20).executeTakeFirst();
    expect(updated?.numUpdatedRows).toBe(1n);
    const deleted = await db.deleteFrom('person').where('name', '=', 'Ada').executeTakeFirst();
    expect(deleted.numDeletedRows).toBe(1n);
    const ignored = await insertPeople('Bob')
      .onConflict(conflict => conflict.doNothing())
      .executeTakeFirst();
    expect(ignored).toEqual(new InsertResult(undefined, 0n));
    const upserted = await insertPeople('Bob')
      .onConflict(conflict => conflict.column('name').doUpdateSet({ age: eb => eb.ref('excluded.age') }))
      .returning(['id', 'age'])
      .executeTakeFirstOrThrow();
    expect(upserted).toEqual({ id: 2, age: 20 });
    expectTypeOf(upserted).toEqualTypeOf<{ id: number; age: number | null }>();
    await expect(insertPeople('Bob').execute()).rejects.toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE' },
    });
  });

  it('returns rows of writes, and values exactly', async () => {
    const photo = Buffer.from([0, 1, 255]);
    const [row] = await db
      .insertInto('person')
      .values({ name: 'Zoé', big: 2n ** 62n, photo, age: null })
      .returningAll()
      .execute();
    expect(row).toEqual({ id: 1, name: 'Zoé', age: null, big: 2n ** 62n, photo });
    expect(await db.selectFrom('person').selectAll().execute()).toEqual([row]);
  });

  it('joins, aggregates, nests and runs plain SQL', async () => {
    await insertPeople('Ada', 'Bob').execute();
    await db
      .insertInto('pet')
      .values([
        { owner_id: 1, name: 'Rex' },
        { owner_id: 1, name: 'Tom' },
      ])
      .execute();
    const joined = await db
      .selectFrom('person')
      .leftJoin('pet', 'pet.owner_id', 'person.id')
      .select(['person.name', 'pet.name as pet'])
      .orderBy('pet.id', 'desc')
      .execute();
    expect(joined).toEqual([
      { name: 'Ada', pet: 'Tom' },
      { name: 'Ada', pet: 'Rex' },
      { name: 'Bob', pet: null },
    ]);
    const counted = await db
      .with('busy', qb =>
        qb
          .selectFrom('pet')
          .select(['owner_id', sql<number>`count(*)`.as('pets')])
          .groupBy('owner_id'),
      )
      .selectFrom('busy')
      .selectAll()
      .execute();
    expect(counted).toEqual([{ owner_id: 1, pets: 2 }]);
    const nested = await db
      .selectFrom('person')
      .select(eb => [
        'name',
        jsonArrayFrom(eb.selectFrom('pet').select('pet.name').whereRef('pet.owner_id', '=', 'person.id')).as(
          'pets',
        ),
      ])
      .where('id', '=', 1)
      .executeTakeFirst();
    expect(nested).toEqual({ name: 'Ada', pets: JSON.stringify([{ name: 'Rex' }, { name: 'Tom' }]) });
    const { rows } = await sql<{ n: number }>`SELECT ${40} + 2 AS n`.execute(db);
    expect(rows).toEqual([{ n: 42 }]);
    await db.deleteFrom('person').where('id', '=', 1).execute();
    expect(await db.selectFrom('pet').select('id').execute()).toEqual([]);
  });

  it('streams a read in chunks, of one state of the database', async () => {
    await insertPeople(...Array.from({ length: 500 }, (_, index) => `p${index}`)).execute();
    const names: string[] = [];
    for await (const { name } of db.selectFrom('person').select('name').orderBy('id').stream(100)) {
      if (names.length === 0) await db.deleteFrom('person').execute();
      names.push(name);
    }
    expect(names).toHaveLength(500);
    expect(names[499]).toBe('p499');
    expect(await db.selectFrom('person').select('id').execute()).toEqual([]);
  });

  it('lets plugins work on both ways', async () => {
    const camel = newDatabase<{ userAccount: { firstName: string } }>([new CamelCasePlugin()]);
    await camel.schema.createTable('userAccount').addColumn('firstName', 'text').execute();
    await camel.insertInto('userAccount').values({ firstName: 'Ada' }).execute();
    expect(await camel.selectFrom('userAccount').selectAll().execute()).toEqual([{ firstName: 'Ada' }]);
    expect(await batch(camel, [camel.selectFrom('userAccount').select('firstName')])).toEqual([
      [{ firstName: 'Ada' }],
    ]);
    const [table] = await camel.introspection.getTables();
    expect(table?.name).toBe('user_account');
  });
});

describe('batch', () => {
  it('runs queries as a whole, and answers as each of them would', async () => {
    const [inserted, read, updated, returned] = await batch(db, [
      insertPeople('Ada'),
      db.selectFrom('person').select(['id', 'name']),
      db.updateTable('person').set({ age: 50 }),
      db.deleteFrom('person').returning('age'),
    ]);
    expectTypeOf(inserted).toEqualTypeOf<InsertResult[]>();
    expectTypeOf(read).toEqualTypeOf<{ id: number; name: string }[]>();
    expect(inserted).toEqual([new InsertResult(1n, 1n)]);
    expect(read).toEqual([{ id: 1, name: 'Ada' }]);
    expect(updated).toEqual([new UpdateResult(1n, undefined)]);
    expect(returned).toEqual([{ age: 50 }]);
  });

  it('applies nothing where one of them fails, and says which', async () => {
    const failing = batch(db, [insertPeople('Ada'), insertPeople('Ada')]);
    await expect(failing).rejects.toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { statementIndex: 1 },
    });
    expect(await db.selectFrom('person').select('id').execute()).toEqual([]);
  });
});

describe('transactions', () => {
  it('commit what they wrote, and see it before others do', async () => {
    const age = await db.transaction().execute(async trx => {
      const { insertId } = await trx
        .insertInto('person')
        .values({ name: 'Ada', age: 1 })
        .executeTakeFirstOrThrow();
      const row = await trx
        .selectFrom('person')
        .select('age')
        .where('id', '=', Number(insertId))
        .executeTakeFirstOrThrow();
      expect(await db.selectFrom('person').select('id').execute()).toEqual([]);
      const updated = await trx
        .updateTable('person')
        .set({ age: row.age! + 1 })
        .returning('age')
        .execute();
      return updated[0]!.age;
    });
    expect(age).toBe(2);
    expect(await db.selectFrom('person').select(['name', 'age']).execute()).toEqual([
      { name: 'Ada', age: 2 },
    ]);
  });

  it('leave nothing behind where they fail', async () => {
    const failing = db.transaction().execute(async trx => {
      await trx.insertInto('person').values({ name: 'Ada' }).execute();
      await trx.insertInto('person').values({ name: 'Ada' }).execute();
    });
    await expect(failing).rejects.toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      details: { sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE' },
    });
    await expect(
      db.transaction().execute(async trx => {
        await trx.insertInto('person').values({ name: 'Bob' }).execute();
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind');
    expect(await db.selectFrom('person').select('id').execute()).toEqual([]);
  });

  it('have savepoints', async () => {
    const trx = await db.startTransaction().execute();
    await trx.insertInto('person').values({ name: 'kept' }).execute();
    const outer = await trx.savepoint('outer').execute();
    await outer.insertInto('person').values({ name: 'undone' }).execute();
    const back = await outer.rollbackToSavepoint('outer').execute();
    await back.insertInto('person').values({ name: 'kept, too' }).execute();
    await back.releaseSavepoint('outer').execute();
    await trx.commit().execute();
    const names = await db.selectFrom('person').select('name').orderBy('id').execute();
    expect(names.map(({ name }) => name)).toEqual(['kept', 'kept, too']);
  });

  it('follow one another', async () => {
    await insertPeople('Ada').execute();
    const increment = () =>
      db.transaction().execute(async trx => {
        const { age } = await trx.selectFrom('person').select('age').executeTakeFirstOrThrow();
        await trx
          .updateTable('person')
          .set({ age: age! + 1 })
          .execute();
      });
    await Promise.all(Array.from({ length: 5 }, increment));
    expect(await db.selectFrom('person').select('age').execute()).toEqual([{ age: 25 }]);
  });
});

describe('the schema', () => {
  it('is introspected without the tables that are not the application’s', async () => {
    await db.schema
      .createView('adult')
      .as(db.selectFrom('person').select('name').where('age', '>', 17))
      .execute();
    const tables = await db.introspection.getTables();
    expect(tables.map(({ name, isView }) => [name, isView])).toEqual([
      ['adult', true],
      ['person', false],
      ['pet', false],
    ]);
    const person = tables.find(({ name }) => name === 'person')!;
    expect(person.columns[0]).toMatchObject({ name: 'id', dataType: 'INTEGER', isAutoIncrementing: true });
    expect(person.columns[1]).toMatchObject({ name: 'name', dataType: 'TEXT', isNullable: false });
  });

  it('is migrated up and down', async () => {
    const migrations: Record<string, Migration> = {
      '1-add-note': {
        up: on => on.schema.createTable('note').addColumn('text', 'text').execute(),
        down: on => on.schema.dropTable('note').execute(),
      },
      '2-add-index': {
        up: on => on.schema.createIndex('note_text').on('note').column('text').execute(),
        down: on => on.schema.dropIndex('note_text').execute(),
      },
    };
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
    const names = async () => (await db.introspection.getTables()).map(({ name }) => name);
    const up = await migrator.migrateToLatest();
    expect(up.error).toBeUndefined();
    expect(up.results?.map(({ status }) => status)).toEqual(['Success', 'Success']);
    expect(await names()).toEqual(['note', 'person', 'pet']);
    expect((await migrator.migrateToLatest()).results).toEqual([]);
    expect((await migrator.migrateTo('1-add-note')).error).toBeUndefined();
    expect((await migrator.migrateDown()).error).toBeUndefined();
    expect(await names()).toEqual(['person', 'pet']);
  });
});

describe('migrations', () => {
  const migratorOf = (on: Kysely<Schema>, more: Record<string, Migration> = {}) => {
    const migrations: Record<string, Migration> = {
      '1-note': { up: it => it.schema.createTable('note').addColumn('text', 'text').execute() },
      '2-first': { up: async it => void (await sql`INSERT INTO note VALUES ('first')`.execute(it)) },
      ...more,
    };
    return new Migrator({ db: on, provider: { getMigrations: async () => migrations } });
  };

  it('are applied as a whole or not at all', async () => {
    const broken = migratorOf(db, {
      '3-broken': { up: async it => void (await sql`CREATE nonsense`.execute(it)) },
    });
    expect((await broken.migrateToLatest()).error).toMatchObject({ code: 'SQL_ERROR' });
    expect((await db.introspection.getTables()).map(({ name }) => name)).toEqual(['person', 'pet']);
  });

  it('are applied by one of several processes that do it at the same time', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => migratorOf(db).migrateToLatest()));
    for (const { error } of results) expect(error).toBeUndefined();
    expect((await sql`SELECT text FROM note`.execute(db)).rows).toEqual([{ text: 'first' }]);
  });
});

describe('errors', () => {
  it('are those of the SDK', async () => {
    const codeOf = (promise: Promise<unknown>) =>
      promise.then(
        () => 'none',
        (error: unknown) => (error instanceof OnewriterError ? error.code : String(error)),
      );
    expect(await codeOf(sql`ATTACH 'x' AS y`.execute(db))).toBe('STATEMENT_NOT_ALLOWED');
    expect(await codeOf(sql`SELECT * FROM nothing`.execute(db))).toBe('SQL_ERROR');
    expect(await codeOf(db.insertInto('person').values({ name: 'x', age: Number.NaN }).execute())).toBe(
      'INVALID_VALUE',
    );
    const impatient = new OnewriterDialect({ tenant: client.tenant('kysely-1'), wait: { timeoutMs: 0 } });
    expect(await codeOf(new Kysely<Schema>({ dialect: impatient }).deleteFrom('pet').execute())).toBe(
      'INVALID_ARGUMENT',
    );
  });
});
