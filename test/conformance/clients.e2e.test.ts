import { type Client, createClient } from '@libsql/client';
import { connect as connectSdk, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import { type Connection, connect } from '@tursodatabase/serverless';
import NativeDatabase from 'libsql';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/*
 * The clients that speak the libSQL protocol, as they come from npm, against a running Onewriter:
 * tables.e2e.test.ts lists what each test shows.
 */

let stack: Stack;
let tenants = 0;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.stop());

/** The URL of a tenant without writes. */
function newTenant(): string {
  return `${stack.gatewayUrl}/t/conformance-${++tenants}/`;
}

/** What an error says besides its message. */
async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (thrown: unknown) => thrown as Error,
  );
  return 'code' in error ? error.code : error.message;
}

describe('@libsql/client', () => {
  function open(options: Partial<Parameters<typeof createClient>[0]> = {}): Client {
    const client = createClient({ url: newTenant(), authToken: stack.token, ...options });
    onTestFinished(() => client.close());
    return client;
  }

  it('executes statements, with values of all types both ways', async () => {
    const client = open({ intMode: 'bigint' });
    // A tenant that does not exist yet has no tables.
    expect((await client.execute('SELECT name FROM sqlite_schema')).rows).toEqual([]);
    await client.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, i, r REAL, s TEXT, b BLOB, n)');
    const blob = new Uint8Array([0, 1, 255]);
    const inserted = await client.execute({
      sql: 'INSERT INTO t(i, r, s, b, n) VALUES (?, ?, ?, ?, ?)',
      args: [9223372036854775807n, 2, 'é\u0000', blob, null],
    });
    expect(inserted).toMatchObject({ rowsAffected: 1, lastInsertRowid: 1n, columns: [] });
    const { columns, columnTypes, rows, rowsAffected, lastInsertRowid } = await client.execute({
      sql: 'SELECT id, i, r, s, b, n, typeof(r) FROM t WHERE s LIKE :start',
      args: { start: 'é%' },
    });
    expect([columns, columnTypes]).toEqual([
      ['id', 'i', 'r', 's', 'b', 'n', 'typeof(r)'],
      ['INTEGER', '', 'REAL', 'TEXT', 'BLOB', '', ''],
    ]);
    expect(Array.from(rows[0] as ArrayLike<unknown>)).toEqual([
      1n,
      9223372036854775807n,
      2,
      'é\u0000',
      blob.buffer,
      null,
      'real',
    ]);
    expect([rowsAffected, lastInsertRowid]).toEqual([0, undefined]);
    const updated = await client.execute('UPDATE t SET s = upper(s) RETURNING id');
    expect([updated.rowsAffected, updated.rows.length, updated.lastInsertRowid]).toEqual([1, 1, undefined]);
  });

  it('binds arguments by number and by name, NULL too, and names columns as SQLite does', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(a)');
    for (const sql of ['SELECT', 'INSERT INTO t VALUES (1) RETURNING']) {
      const numbered = await client.execute({ sql: `${sql} ?1, ?3, ?1`, args: ['a', 'b', 'c'] });
      expect(numbered.columns).toEqual(['?1', '?3', '?1']);
      expect(Array.from(numbered.rows[0] as ArrayLike<unknown>)).toEqual(['a', 'c', 'a']);
      const named = await client.execute({ sql: `${sql} :a, @b, 1+1`, args: { a: null, b: 'x' } });
      expect(named.columns).toEqual([':a', '@b', '1+1']);
      expect(Array.from(named.rows[0] as ArrayLike<unknown>)).toEqual([null, 'x', 2]);
      const mixed = await client.execute({ sql: `${sql} ?, :a, ?`, args: ['x', 'y', 'z'] });
      expect(Array.from(mixed.rows[0] as ArrayLike<unknown>)).toEqual(['x', 'y', 'z']);
      for (const args of [['x'], ['x', 'y', 'z'], { a: 1 }]) {
        expect(await codeOf(client.execute({ sql: `${sql} ?, ?`, args }))).toBe('ARGS_INVALID');
      }
      const batch = client.batch(['SELECT 1', { sql: `${sql} ?`, args: [] }, 'DELETE FROM t'], 'write');
      await expect(batch).rejects.toMatchObject({ code: 'ARGS_INVALID', statementIndex: 1 });
    }
    expect((await client.execute('SELECT count(*) AS n FROM t')).rows[0]!['n']).toBe(3);
  });

  it('gets infinities and negative zero', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
    await client.execute('INSERT INTO t(a) VALUES (9e999), (-9e999), (-0.0), (1.5)');
    const values = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 1.5];
    const { rows } = await client.execute('SELECT a FROM t ORDER BY id');
    expect(rows.map(row => row['a'])).toEqual(values);
    const [updated] = await client.batch(['UPDATE t SET a = a RETURNING a'], 'write');
    expect(updated!.rows.map(row => row['a'])).toEqual(values);
    // The client refuses them as arguments.
    await expect(client.execute({ sql: 'SELECT ?', args: [Infinity] })).rejects.toThrow(RangeError);
  });

  it('sends batches of 4,000 statements, as its own tests do', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
    const selects = Array.from({ length: 4_000 }, (_, n) => ({ sql: `SELECT ?, ${n % 200}`, args: [n] }));
    const read = await client.batch(selects, 'read');
    expect(read.map(({ rows }) => rows[0]![0])).toEqual(selects.map((_, n) => n));
    const inserts = selects.map((_, n) => ({ sql: 'INSERT INTO t VALUES (?, ?)', args: [n + 1, n] }));
    const written = await client.batch(inserts, 'write');
    expect(written.map(({ lastInsertRowid }) => Number(lastInsertRowid))).toEqual(
      inserts.map((_, n) => n + 1),
    );
    const failing = client.batch([...inserts.slice(0, 3_999), inserts[0]!], 'write');
    expect(await codeOf(failing)).toBe('SQLITE_CONSTRAINT');
    const tooMany = client.batch([...inserts, ...inserts], 'write');
    await expect(tooMany).rejects.toThrow('has 8003 statements; at most 5009 are allowed');
    expect(await codeOf(client.batch([...inserts, ...inserts], 'write'))).toBe('SQLITE_TOOBIG');
  });

  it('names errors by their codes', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(id INTEGER PRIMARY KEY)');
    await client.execute('INSERT INTO t VALUES (1)');
    expect(await codeOf(client.execute('INSERT INTO t VALUES (1)'))).toBe('SQLITE_CONSTRAINT');
    expect(await codeOf(client.execute('SELEC'))).toBe('SQL_PARSE_ERROR');
    expect(await codeOf(client.execute('SELECT 1; SELECT 2'))).toBe('SQL_MANY_STATEMENTS');
    expect(await codeOf(client.execute({ sql: 'SELECT ?', args: [] }))).toBe('ARGS_INVALID');
    expect(await codeOf(client.execute("ATTACH 'x' AS y"))).toBe('SQLITE_AUTH');
    const stranger = open({ authToken: 'nonsense' });
    expect(await codeOf(stranger.execute('SELECT 1'))).toBe('UNAUTHENTICATED');
    const noSlash = open({ url: newTenant().slice(0, -1) });
    await expect(noSlash.execute('SELECT 1')).rejects.toThrow('must end with a slash');
  });

  it('runs batches in all modes, whole or not at all', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
    const insert = (id: number) => ({ sql: 'INSERT INTO t VALUES (?, ?)', args: [id, `row ${id}`] });
    const count = 'SELECT count(*) AS n FROM t';
    const counts = [];
    for (const mode of ['write', 'deferred'] as const) {
      const [, result] = await client.batch([insert(counts.length), count], mode);
      counts.push(result!.rows[0]!['n']);
    }
    expect(counts).toEqual([1, 2]);
    const [first, second] = await client.batch(
      [count, { sql: 'SELECT a FROM t WHERE id = ?', args: [1] }],
      'read',
    );
    expect([first!.rows[0]!['n'], second!.rows[0]!['a']]).toEqual([2, 'row 1']);
    expect(await codeOf(client.batch([insert(7)], 'read'))).toBe('SQLITE_READONLY');

    const failure = client.batch([insert(8), insert(8), insert(9)], 'write');
    await expect(failure).rejects.toMatchObject({ code: 'SQLITE_CONSTRAINT', statementIndex: 1 });
    expect((await client.execute(count)).rows[0]!['n']).toBe(2);

    // More texts than a stream stores.
    const many = Array.from({ length: 60 }, (_, index) => `INSERT INTO t(a) VALUES ('${index}')`);
    expect(await client.batch(many, 'write')).toHaveLength(60);
  });

  it('migrates with foreign keys off, and they are on afterwards', async () => {
    const client = open();
    await client.migrate([
      'CREATE TABLE parent(id INTEGER PRIMARY KEY)',
      'CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE)',
      'INSERT INTO parent VALUES (1)',
      'INSERT INTO child VALUES (1, 1)',
    ]);
    // With foreign keys on, dropping the table would delete the children.
    await client.migrate([
      'CREATE TABLE parent_new(id INTEGER PRIMARY KEY, name TEXT)',
      'INSERT INTO parent_new(id) SELECT id FROM parent',
      'DROP TABLE parent',
      'ALTER TABLE parent_new RENAME TO parent',
    ]);
    expect((await client.execute('SELECT count(*) AS n FROM child')).rows[0]!['n']).toBe(1);
    expect(await codeOf(client.execute('INSERT INTO child VALUES (2, 99)'))).toBe('SQLITE_CONSTRAINT');
    const failing = client.migrate(['CREATE TABLE other(a)', 'SELEC']);
    expect(await codeOf(failing)).toBe('SQL_PARSE_ERROR');
    expect(await codeOf(client.execute('SELECT * FROM other'))).toBe('SQLITE_ERROR');
    expect(await codeOf(client.execute('INSERT INTO child VALUES (2, 99)'))).toBe('SQLITE_CONSTRAINT');
  });

  it('runs scripts', async () => {
    const client = open();
    await client.executeMultiple(`
      CREATE TABLE t(a);
      CREATE TRIGGER r AFTER INSERT ON t WHEN new.a < 3 BEGIN INSERT INTO t VALUES (new.a + 1); END;
      BEGIN; INSERT INTO t VALUES (7); ROLLBACK;
    `);
    expect(
      await codeOf(client.executeMultiple('INSERT INTO t VALUES (3); SELEC; INSERT INTO t VALUES (4)')),
    ).toBe('SQL_PARSE_ERROR');
    expect((await client.execute('SELECT a FROM t')).rows.map(row => row['a'])).toEqual([3]);
  });

  it('holds transactions in all modes', async () => {
    const client = open();
    await client.execute('CREATE TABLE t(a)');
    const count = async (on: Pick<Client, 'execute'> = client) =>
      (await on.execute('SELECT count(*) AS n FROM t')).rows[0]!['n'];
    for (const mode of ['write', 'deferred'] as const) {
      const before = Number(await count());
      const kept = await client.transaction(mode);
      await kept.execute({ sql: 'INSERT INTO t VALUES (?)', args: [1] });
      await kept.batch(['INSERT INTO t VALUES (2)', 'INSERT INTO t VALUES (3)']);
      await kept.executeMultiple(
        'INSERT INTO t VALUES (4); SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s;',
      );
      expect([await count(kept), await count()]).toEqual([before + 4, before]);
      // An error of a statement ends nothing else.
      expect(await codeOf(kept.execute('INSERT INTO nowhere VALUES (1)'))).toBe('SQLITE_ERROR');
      await kept.commit();
      expect(await count()).toBe(before + 4);
      const dropped = await client.transaction(mode);
      await dropped.execute('DELETE FROM t');
      await dropped.rollback();
      const closed = await client.transaction(mode);
      await closed.execute('DELETE FROM t');
      closed.close();
      expect(await count()).toBe(before + 4);
    }
    const reading = await client.transaction('read');
    const seen = await count(reading);
    await client.execute('INSERT INTO t VALUES (5)');
    expect(await count(reading)).toBe(seen);
    expect(await codeOf(reading.execute('INSERT INTO t VALUES (6)'))).toBe('SQLITE_READONLY');
    await reading.commit();
    expect(await count()).toBe(Number(seen) + 1);
  });
});

describe('@libsql/client, beside the writes of others', () => {
  let sdk: Onewriter;

  beforeAll(async () => {
    sdk = await connectSdk({ redis: stack.redisUrl, dataDir: stack.dataDir });
  });
  afterAll(() => sdk?.close());

  async function newPlace() {
    const url = newTenant();
    const client = createClient({ url, authToken: stack.token });
    onTestFinished(() => client.close());
    await client.execute('CREATE TABLE t(a)');
    const values = async () =>
      (await client.execute('SELECT a FROM t ORDER BY rowid')).rows.map(row => row['a']);
    return { id: url.split('/').at(-2)!, client, values };
  }

  const insert = (value: string) => ({ sql: 'INSERT INTO t VALUES (?)', args: [value] });

  it('holds up no other tenant: they write, reads continue, writes of its own tenant wait and come after it', async () => {
    const [own, other] = [await newPlace(), await newPlace()];
    const transaction = await own.client.transaction('write');
    await transaction.execute(insert('first'));
    const queued = sdk.tenant(own.id).prepare('INSERT INTO t VALUES (?)').run('queued');
    const enqueued = await sdk.tenant(own.id).enqueue('INSERT INTO t VALUES (?)', ['enqueued']);
    await other.client.batch([insert('elsewhere')], 'write');
    const second = await other.client.transaction('write');
    await second.execute(insert('in a transaction, too'));
    await second.commit();
    expect(await own.values()).toEqual([]);
    await transaction.execute(insert('second'));
    await transaction.commit();
    await queued;
    await enqueued.committed({ timeoutMs: 30_000 });
    expect(await own.values()).toEqual(['first', 'second', 'queued', 'enqueued']);
    expect(await other.values()).toEqual(['elsewhere', 'in a transaction, too']);
  });

  it('lets the next one wait for its end', async () => {
    const place = await newPlace();
    const names = Array.from({ length: 8 }, (_, index) => `client ${index}`);
    const increment = async (name: string) => {
      const transaction = await place.client.transaction('write');
      const { rows } = await transaction.execute('SELECT count(*) AS n FROM t');
      await transaction.execute(insert(`${rows[0]!['n']}`));
      await transaction.commit();
      return name;
    };
    expect(await Promise.all(names.map(increment))).toEqual(names);
    // Each has seen what the ones before it committed.
    expect(await place.values()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  });

  it('of a deferred kind fails with SQLITE_BUSY at its first write if others have written since it read', async () => {
    const place = await newPlace();
    const transaction = await place.client.transaction('deferred');
    expect((await transaction.execute('SELECT * FROM t')).rows).toHaveLength(0);
    await place.client.execute(insert('other'));
    expect(await codeOf(transaction.execute(insert('mine')))).toBe('SQLITE_BUSY');
    expect((await transaction.execute('SELECT * FROM t')).rows).toHaveLength(0);
    await transaction.rollback();
    expect(await place.values()).toEqual(['other']);
  });
});

describe('@tursodatabase/serverless', () => {
  function open(): Connection {
    const database = connect({ url: newTenant(), authToken: stack.token });
    onTestFinished(() => database.close());
    return database;
  }

  it('prepares and runs statements', async () => {
    const db = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, r REAL); CREATE TABLE other(a)');
    const insert = await db.prepare('INSERT INTO t(a, r) VALUES (?, ?)');
    expect(await insert.run(['x', 1.5])).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    expect(await insert.run(['y', 2])).toMatchObject({ changes: 1, lastInsertRowid: 2 });
    const select = await db.prepare('SELECT id, a, r FROM t WHERE id >= :from');
    expect(await select.all({ from: 1 })).toMatchObject([
      { id: 1, a: 'x', r: 1.5 },
      { id: 2, a: 'y', r: 2 },
    ]);
    expect(await select.get({ from: 2 })).toMatchObject({ id: 2 });
    const seen = [];
    for await (const row of select.iterate({ from: 1 })) seen.push((row as { id: number }).id);
    expect(seen).toEqual([1, 2]);
    expect(select.columns().map(({ name }) => name)).toEqual(['id', 'a', 'r']);
    expect(await codeOf(insert.run(['x']))).toBe('ARGS_INVALID');
    expect(await codeOf(db.prepare('SELEC').then(statement => statement.all()))).toBe('SQL_PARSE_ERROR');
    expect(await codeOf((await db.prepare('INSERT INTO t(id) VALUES (1)')).run())).toBe('SQLITE_CONSTRAINT');
  });

  it('binds by number and by name, names columns as SQLite does, and gets infinities', async () => {
    const db = open();
    await db.exec('CREATE TABLE t(a)');
    for (const sql of ['SELECT', 'INSERT INTO t VALUES (1) RETURNING']) {
      const numbered = await db.prepare(`${sql} ?2, ?1, 9e999, -9e999`);
      expect(await numbered.get(['a', 'b'])).toMatchObject({ '?2': 'b', '?1': 'a', '9e999': Infinity });
      expect(numbered.columns().map(({ name }) => name)).toEqual(['?2', '?1', '9e999', '-9e999']);
      const named = await db.prepare(`${sql} :a, @b`);
      expect(await named.get({ a: null, b: 'x' })).toMatchObject({ ':a': null, '@b': 'x' });
      expect(await codeOf(named.get({ a: 1 }))).toBe('ARGS_INVALID');
    }
    const many = Array.from({ length: 4_000 }, (_, n) => `INSERT INTO t VALUES (${n})`);
    expect(await db.batch(many, 'immediate')).toHaveLength(4_000);
  });

  it('streams long results', async () => {
    const db = open();
    const numbers = await db.prepare(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 120000) SELECT i FROM n',
    );
    expect(await numbers.all()).toHaveLength(120_000);
  });

  it('runs batches and transactions, whole or not at all', async () => {
    const db = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
    const count = async () =>
      ((await (await db.prepare('SELECT count(*) AS n FROM t')).get()) as { n: number }).n;
    for (const mode of ['immediate', 'deferred', 'exclusive'] as const) {
      await db.batch(["INSERT INTO t(a) VALUES ('x')", 'SELECT * FROM t'], mode);
    }
    expect(
      await codeOf(db.batch(['INSERT INTO t(a) VALUES (1)', 'INSERT INTO t(id) VALUES (1)'], 'immediate')),
    ).toBe('SQLITE_CONSTRAINT');
    expect(await count()).toBe(3);

    const insert = db.transaction(async (fails: boolean) => {
      expect(db.inTransaction).toBe(true);
      await (await db.prepare('INSERT INTO t(a) VALUES (?)')).run([1]);
      if (fails) throw new Error('changed my mind');
    });
    await insert(false);
    await insert.immediate(false);
    await expect(insert(true)).rejects.toThrow('changed my mind');
    expect([db.inTransaction, await count()]).toEqual([false, 5]);

    // A table of this transaction can be described in it.
    await db.exec('BEGIN IMMEDIATE');
    await db.exec('CREATE TABLE fresh(a TEXT)');
    await (await db.prepare('INSERT INTO fresh VALUES (?)')).run(['x']);
    expect((await db.prepare('SELECT a FROM fresh')).columns()).toMatchObject([{ name: 'a' }]);
    await db.exec('COMMIT');
    expect(await (await db.prepare('SELECT a FROM fresh')).all()).toMatchObject([{ a: 'x' }]);
  });
});

describe('libsql, remote', () => {
  /** Its calls block this thread, so nothing else of the test may be needed to answer them. */
  function open(): NativeDatabase.Database {
    const database = new NativeDatabase(newTenant(), { authToken: stack.token } as NativeDatabase.Options);
    onTestFinished(() => void database.close());
    return database;
  }

  it('prepares and runs statements, decoded strictly', () => {
    const db = open();
    db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, r REAL, b BLOB)');
    const insert = db.prepare('INSERT INTO t(a, r, b) VALUES (?, ?, ?)');
    expect(insert.run('x', 1.5, Buffer.from([1, 2]))).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    expect(insert.run('y', 2, null)).toMatchObject({ changes: 1, lastInsertRowid: 2 });
    const rows = db.prepare('SELECT id, a, r, b FROM t').all() as { b: Buffer }[];
    expect(rows).toMatchObject([
      { id: 1, a: 'x', r: 1.5 },
      { id: 2, a: 'y', r: 2, b: null },
    ]);
    expect(Buffer.from(rows[0]!.b)).toEqual(Buffer.from([1, 2]));
    expect(db.prepare('SELECT a FROM t WHERE id = ?').get(2)).toMatchObject({ a: 'y' });
    expect(() => db.prepare('INSERT INTO t(id) VALUES (1)').run()).toThrow('UNIQUE constraint failed');
    expect(() => db.prepare('SELEC').all()).toThrow('syntax error');
  });

  it('holds transactions', () => {
    const db = open();
    db.exec('CREATE TABLE t(a)');
    const both = db.transaction((fails: boolean) => {
      // One prepared before the transaction ends its stream with each run, and the transaction with it.
      const insert = db.prepare('INSERT INTO t VALUES (?)');
      insert.run(1);
      insert.run(2);
      if (fails) throw new Error('changed my mind');
    });
    both(false);
    expect(() => both(true)).toThrow('changed my mind');
    expect(db.prepare('SELECT count(*) AS n FROM t').get()).toMatchObject({ n: 2 });
  });
});
