import { fileURLToPath } from 'node:url';
import { deadLetterQueue, eventsKey, inboxQueue, LIMITS, parseReceiptId } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { type ConnectOptions, connect, type Onewriter, OnewriterError, type Tenant } from '@onewriter/sdk';
import {
  spawnProcess,
  startRedis,
  startService,
  startTcpProxy,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Services, startServices } from './services.ts';

const SDK = fileURLToPath(new URL('../../shared/sdk/dist/index.js', import.meta.url));

let services: Services;
let redis: TestRedis;
let data: TemporaryDirectory;
let client: Onewriter;
let tenants = 0;

beforeAll(async () => {
  services = await startServices('sdk', { redis: { appendonly: 'always' } });
  ({ redis, data, client } = services);
});

afterAll(() => services?.stop());

async function connectTo(options: Partial<ConnectOptions> = {}): Promise<Onewriter> {
  const other = await connect({ redis: redis.url, dataDir: data.path, ...options });
  onTestFinished(() => other.close({ timeoutMs: 1_000 }));
  return other;
}

/** A tenant of the test's own, with a table. */
async function newTenant(from: Onewriter = client): Promise<Tenant> {
  const tenant = from.tenant(`sdk-${++tenants}`);
  await tenant.exec('CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER UNIQUE, v)');
  return tenant;
}

/** The numbers in a tenant's file, in the order they were inserted, read without the SDK. */
function numbersIn(tenant: string): number[] {
  const db = new Database(`${data.path}/tenants/${tenant}/tenant.db`, { readonly: true });
  try {
    return db.prepare('SELECT n FROM t ORDER BY id').pluck().all() as number[];
  } finally {
    db.close();
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof OnewriterError ? error.code : String(error)),
  );

describe('writes', () => {
  it('answers with what the statement did', async () => {
    const db = await newTenant();
    const insert = db.prepare<[n: number, v: unknown]>('INSERT INTO t(n, v) VALUES (?, ?)');
    const first = await insert.run(1, 'one');
    expect(first).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    expect(await insert.run([2, null])).toMatchObject({ lastInsertRowid: 2, commitSeq: first.commitSeq + 1 });
    expect(await db.prepare('UPDATE t SET v = @v').run({ v: 'x' })).toMatchObject({
      changes: 2,
      lastInsertRowid: 0,
    });
    const returning = db.prepare<{ n: number }, { n: number; v: string }>(
      'DELETE FROM t WHERE n = @n RETURNING n, v',
    );
    expect(await returning.get({ n: 2 })).toEqual({ n: 2, v: 'x' });
    expect(await returning.all({ n: 2 })).toEqual([]);
    const { rows } = await db.execute('INSERT INTO t(n) VALUES (3), (4) RETURNING n, n', [], {
      rowMode: 'array',
    });
    expect(rows).toEqual([
      [3, 3],
      [4, 4],
    ]);
  });

  it('applies the writes of a client in order, and one bad write fails alone', async () => {
    const db = await newTenant();
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)');
    const codes = await Promise.all(
      Array.from({ length: 1_200 }, (_, index) => codeOf(insert.run(index % 100 === 99 ? 0 : index))),
    );
    expect(codes.filter(code => code === 'none')).toHaveLength(1_188);
    expect(new Set(codes)).toEqual(new Set(['none', 'CONSTRAINT_VIOLATION']));
    const numbers = numbersIn(db.id);
    expect(numbers).toHaveLength(1_188);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });

  it('applies a transaction as a whole or not at all, and names the statement that failed', async () => {
    const db = await newTenant();
    const insert = 'INSERT INTO t(n) VALUES (?)';
    const results = await db.transaction([
      { sql: insert, params: [1] },
      { sql: 'SELECT count(*) AS count FROM t' },
      { sql: 'UPDATE t SET v = 1', expect: { changes: 1 } },
    ]);
    expect(results.map(({ changes, rows }) => rows ?? changes)).toEqual([1, [{ count: 1 }], 1]);
    const failing = db.transaction([
      { sql: insert, params: [2] },
      { sql: 'UPDATE t SET v = 2', expect: { changes: 1 } },
    ]);
    await expect(failing).rejects.toMatchObject({
      code: 'EXPECTATION_FAILED',
      details: { statementIndex: 1 },
    });
    const refused = db.transaction([{ sql: insert, params: [2] }, { sql: 'COMMIT' }]);
    await expect(refused).rejects.toMatchObject({
      code: 'STATEMENT_NOT_ALLOWED',
      details: { statementIndex: 1 },
    });
    expect(numbersIn(db.id)).toEqual([1]);
  });

  it('applies a script as a whole, with triggers and semicolons in strings', async () => {
    const db = await newTenant();
    await db.exec(`
      CREATE TABLE log(line TEXT); -- a comment; with a semicolon
      CREATE TRIGGER note AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('a;b'); INSERT INTO log VALUES (new.n); END;
      INSERT INTO t(n) VALUES (5);`);
    expect(await db.prepare('SELECT line FROM log').all()).toEqual([{ line: 'a;b' }, { line: '5' }]);
    expect(await codeOf(db.exec('INSERT INTO t(n) VALUES (6); INSERT INTO t(n) VALUES (5)'))).toBe(
      'CONSTRAINT_VIOLATION',
    );
    expect(await codeOf(db.exec('INSERT INTO t(n) VALUES (6); VACUUM'))).toBe('STATEMENT_NOT_ALLOWED');
    expect(await codeOf(db.exec(' -- nothing'))).toBe('INVALID_ARGUMENT');
    expect(numbersIn(db.id)).toEqual([5]);
  });

  it('refuses mistakes before anything is applied', async () => {
    const db = await newTenant();
    await expect(db.prepare('SELECT 1').run()).rejects.toThrow(TypeError);
    await expect(db.prepare('INSERT INTO t(n) VALUES (1)').get()).rejects.toThrow(TypeError);
    await expect(db.prepare('DELETE FROM t RETURNING n').run()).rejects.toThrow(TypeError);
    await expect(db.enqueue('SELECT 1')).rejects.toThrow(TypeError);
    expect(() => db.prepare('ATTACH x AS y')).toThrow(OnewriterError);
    expect(() => db.prepare('SELECT 1; SELECT 2')).toThrow(OnewriterError);
    expect(() => client.tenant('../etc')).toThrow(OnewriterError);
    expect(await codeOf(db.pragma('user_version = 5'))).toBe('STATEMENT_NOT_ALLOWED');
    expect(await codeOf(db.prepare('INSERT INTO t(v) VALUES (?)').run(Number.NaN))).toBe('INVALID_VALUE');
    expect(numbersIn(db.id)).toEqual([]);
  });

  it('applies a write with an idempotency key once, and gives its result again', async () => {
    const db = await newTenant();
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)').withOptions({ idempotencyKey: 'order-77' });
    const first = await insert.run(1);
    expect(await insert.run(1)).toEqual(first);
    expect(await codeOf(insert.run(2))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(numbersIn(db.id)).toEqual([1]);
  });

  it("gives a repeat under an idempotency key the first one's commitSeq", async () => {
    const db = await newTenant();
    const transaction = [{ sql: 'INSERT INTO t(n) VALUES (?)', params: [1] }];
    const script = 'INSERT INTO t(n) VALUES (2)';
    const returning = 'INSERT INTO t(n) VALUES (3) RETURNING n';
    const large = `INSERT INTO t(n, v) VALUES (4, '${'x'.repeat(LIMITS.maxEventBytes)}') RETURNING v`;
    const detached = async () => {
      const receipt = await db.enqueue('INSERT INTO t(n) VALUES (5)', [], { idempotencyKey: 'e' });
      return receipt.committed();
    };
    const writes = [
      () => db.transaction(transaction, { idempotencyKey: 't' }),
      () => db.exec(script, { idempotencyKey: 's' }),
      () => db.execute(returning, [], { idempotencyKey: 'r' }),
      () => db.execute(large, [], { idempotencyKey: 'l' }),
      detached,
    ];
    for (const write of writes) {
      const first = await write();
      await db.prepare('UPDATE t SET v = v').run();
      expect(await write()).toEqual(first);
    }
    expect(numbersIn(db.id)).toEqual([1, 2, 3, 4, 5]);
  });

  it('reads results that are too large for an event from the ledger', async () => {
    const db = await newTenant();
    const value = 'x'.repeat(LIMITS.maxEventBytes);
    const insert = db.prepare<[v: string], { v: string }>('INSERT INTO t(v) VALUES (?) RETURNING v');
    expect(await insert.get(value)).toEqual({ v: value });
  });
});

describe('receipts', () => {
  it('return the outcome later, in any process', async () => {
    const db = await newTenant();
    const receipt = await db.enqueue('INSERT INTO t(n) VALUES (?)', [1]);
    expect(await receipt.committed()).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    const other = await connectTo();
    const known = other.tenant(db.id).receipt(receipt.id);
    expect(await known.status()).toMatchObject({ state: 'committed', result: { changes: 1 } });
    expect(await known.committed()).toMatchObject({ lastInsertRowid: 1 });
    const failed = await db.enqueue('INSERT INTO t(n) VALUES (?)', [1]);
    expect(await codeOf(failed.committed())).toBe('CONSTRAINT_VIOLATION');
    expect(await failed.status()).toMatchObject({ state: 'failed', error: { code: 'CONSTRAINT_VIOLATION' } });
  });

  it('of a write that was never accepted are not found', async () => {
    const db = await newTenant();
    const id = 'w-01a1fc44-4ddc-7000-9c52-0d2270017207.0';
    expect(await db.receipt(id).status()).toEqual({ state: 'unknown' });
    expect(await codeOf(db.receipt(id).committed())).toBe('RECEIPT_NOT_FOUND');
    expect(() => db.receipt('7')).toThrow(OnewriterError);
  });

  it('are dead-lettered where an enqueued write fails, and only there', async () => {
    const db = await newTenant();
    const insert = 'INSERT INTO t(n) VALUES (1)';
    await db.prepare(insert).run();
    expect(await codeOf(db.prepare(insert).run())).toBe('CONSTRAINT_VIOLATION');
    const receipt = await db.enqueue(insert);
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    const { prefix, name } = deadLetterQueue('default');
    const letters = await waitFor(async () => {
      const keys = await connection.keys(`${prefix}:${name}:*`);
      const all = await Promise.all(keys.map(key => connection.hget(key, 'data').catch(() => null)));
      const own = all.filter(letter => letter?.includes(`"${db.id}"`));
      return own.length > 0 ? own : undefined;
    });
    expect(letters).toHaveLength(1);
    expect(letters[0]).toContain(receipt.id);
  });
});

describe('reads', () => {
  it('see every resolved write, from another process too', async () => {
    const db = await newTenant();
    const other = (await connectTo()).tenant(db.id);
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)');
    const count = other.prepare<[], { count: number }>('SELECT count(*) AS count FROM t');
    for (let n = 1; n <= 100; n++) {
      await insert.run(n);
      expect(await count.get()).toEqual({ count: n });
    }
  });

  it('return every kind of value as it was written', async () => {
    const db = await newTenant();
    const values = [
      ...[
        null,
        0,
        -1,
        1.5,
        -0.0,
        1e308,
        5e-324,
        Number.MAX_SAFE_INTEGER,
        2n ** 53n,
        2n ** 63n - 1n,
        -(2n ** 63n),
      ],
      ...['', 'é\u0000\u{1f600}"\'', Buffer.alloc(0), Buffer.from([0, 255])],
    ];
    await Promise.all(
      values.map((value, n) => db.prepare('INSERT INTO t(n, v) VALUES (?, ?)').run(n, value)),
    );
    const rows = await db.prepare<[], { v: unknown }>('SELECT v FROM t ORDER BY n').all();
    expect(rows.map(row => row.v)).toEqual(values);
    const written = await db.prepare<[], { v: unknown }>('UPDATE t SET n = -n RETURNING v').all();
    expect(written.map(row => row.v)).toEqual(values);
  });

  it('go through the gateway where the files cannot be opened, with the same answers', async () => {
    const gateway = await startService('gateway', { redisUrl: redis.url, dataDir: data.path });
    onTestFinished(async () => void (await gateway.stop()));
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'write' });
    const warnings: string[] = [];
    const logger = { warn: (_: object, message: string) => warnings.push(message), error: () => {} };
    const remote = await connectTo({ dataDir: '/not/mounted/here', gatewayUrl: gateway.url, token, logger });
    expect(remote.readRoute).toBe('gateway');
    expect(warnings).toHaveLength(1);
    const db = await newTenant(remote);
    await db.prepare('INSERT INTO t(n, v) VALUES (?, ?)').run(2n ** 60n, Buffer.from('blob'));
    const row = { n: 2n ** 60n, v: Buffer.from('blob') };
    expect(await db.prepare('SELECT n, v FROM t WHERE n = ?').get(2n ** 60n)).toEqual(row);
    expect(await db.prepare('SELECT n, v FROM t').all()).toEqual([row]);
    for await (const each of db.prepare('SELECT n, v FROM t').iterate()) expect(each).toEqual(row);
    expect(await db.execute('SELECT n, n FROM t', [], { rowMode: 'array' })).toMatchObject({
      rows: [[row.n, row.n]],
    });
    expect(await codeOf(db.prepare('SELECT nope FROM t').get())).toBe('SQL_ERROR');
    expect(await codeOf(remote.tenant('nobody').prepare('SELECT 1').get())).toBe('TENANT_NOT_FOUND');
    const receipt = await db.enqueue('INSERT INTO t(n) VALUES (1)');
    expect(await receipt.committed()).toMatchObject({ changes: 1 });
    // Too large for an event, so it comes by way of the receipt.
    const value = 'x'.repeat(LIMITS.maxEventBytes);
    expect(await db.prepare('INSERT INTO t(v) VALUES (?) RETURNING v').get(value)).toEqual({ v: value });
  });
});

/** Writes numbers from several callers until `stop()`, and remembers the answers. */
function startLoad(tenantsToUse: readonly Tenant[], timeoutMs: number) {
  const told: { tenant: string; n: number; code: string; receipt: string | undefined }[] = [];
  let running = true;
  let next = 0;
  const caller = async (db: Tenant) => {
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)', { timeoutMs });
    while (running) {
      const n = ++next;
      try {
        await insert.run(n);
        told.push({ tenant: db.id, n, code: 'committed', receipt: undefined });
      } catch (error) {
        const { code, details } = error as OnewriterError;
        told.push({ tenant: db.id, n, code, receipt: details?.receiptId });
        if (code !== 'OUTCOME_UNKNOWN') await new Promise(resolve => setTimeout(resolve, 20));
      }
    }
  };
  const callers = tenantsToUse.flatMap(db => Array.from({ length: 16 }, () => caller(db)));
  return {
    told,
    stop: async () => {
      running = false;
      await Promise.all(callers);
      return told;
    },
  };
}

/** Compares the answers with what is in the files. */
async function checkTruth(told: Awaited<ReturnType<ReturnType<typeof startLoad>['stop']>>): Promise<void> {
  for (const tenant of new Set(told.map(entry => entry.tenant))) {
    const unknown = told.filter(entry => entry.tenant === tenant && entry.code === 'OUTCOME_UNKNOWN');
    const receipts = unknown.map(({ receipt }) => client.tenant(tenant).receipt(receipt!));
    // What was on its way is decided some time.
    await waitFor(async () => {
      const states = await Promise.all(receipts.map(receipt => receipt.status()));
      return states.every(({ state }) => state !== 'pending');
    });
    const numbers = numbersIn(tenant);
    const present = new Set(numbers);
    expect(numbers).toHaveLength(present.size);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    for (const entry of told) {
      if (entry.tenant !== tenant) continue;
      let expected = entry.code === 'committed';
      if (entry.code === 'OUTCOME_UNKNOWN') {
        const status = await client.tenant(tenant).receipt(entry.receipt!).status();
        expected = status.state === 'committed';
      }
      expect(present.has(entry.n), `write ${entry.n} was answered ${entry.code}`).toBe(expected);
    }
  }
}

describe('faults between the client and Redis', () => {
  it('get true answers when connections are cut and replies are lost', async () => {
    const proxy = await startTcpProxy(redis.port);
    onTestFinished(() => proxy.stop());
    const other = await connectTo({ redis: `redis://127.0.0.1:${proxy.port}` });
    const load = startLoad([await newTenant(other), await newTenant(other)], 5_000);
    for (let round = 0; round < 30; round++) {
      const enough = load.told.length + 20;
      await waitFor(() => load.told.length >= enough, { intervalMs: 5 });
      if (round % 2) {
        proxy.muteAnswers(true);
        await new Promise(resolve => setTimeout(resolve, round));
      }
      proxy.cut();
      proxy.muteAnswers(false);
    }
    const told = await load.stop();
    expect(told.filter(entry => entry.code === 'committed').length).toBeGreaterThan(500);
    await checkTruth(told);
  });

  it('that swallow everything leave no caller without an answer', async () => {
    const proxy = await startTcpProxy(redis.port);
    onTestFinished(() => proxy.stop());
    const other = await connectTo({ redis: `redis://127.0.0.1:${proxy.port}` });
    const db = await newTenant(other);
    proxy.swallow(true);
    const started = performance.now();
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)', { timeoutMs: 800 });
    const sent = insert.run(1).catch(error => error);
    await new Promise(resolve => setTimeout(resolve, 20));
    const buffered = insert.run(2).catch(error => error);
    expect(await sent).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(await buffered).toMatchObject({ code: 'TIMEOUT' });
    expect(performance.now() - started).toBeLessThan(1_500);
    proxy.swallow(false);
    proxy.cut();
    await waitFor(() => insert.run(3));
    expect(numbersIn(db.id)).toEqual([3]);
  });
});

describe('a Redis of its own', () => {
  /** Redis and broker for tests that break them. */
  async function startOwn(settings: Record<string, string> = {}, withBroker = true) {
    const own = await startRedis({ appendonly: 'always', settings });
    onTestFinished(() => own.stop());
    const directory = await temporaryDirectory('sdk');
    onTestFinished(() => directory.remove());
    const options = { redisUrl: own.url, dataDir: directory.path };
    const service = withBroker ? await startService('broker', options) : undefined;
    if (service) onTestFinished(async () => void (await service.stop()));
    const other = await connectTo({ redis: own.url, dataDir: directory.path });
    return { own, other, directory };
  }

  it('that is away makes writes fail fast, and they succeed when it is back', async () => {
    const { own, other } = await startOwn();
    const db = await newTenant(other);
    own.kill();
    const started = performance.now();
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)');
    // Perhaps it was written to the connection before that was seen to be dead: then it waits for its deadline.
    const first = insert.withOptions({ timeoutMs: 2_000 }).run(1);
    expect(await codeOf(first)).toMatch(/QUEUE_UNAVAILABLE|TIMEOUT|OUTCOME_UNKNOWN/);
    expect(await codeOf(insert.run(2))).toBe('QUEUE_UNAVAILABLE');
    expect(performance.now() - started).toBeLessThan(12_000);
    const refusedAt = performance.now();
    expect(await codeOf(insert.run(3))).toBe('QUEUE_UNAVAILABLE');
    expect(performance.now() - refusedAt).toBeLessThan(1_000);
    // Reads need no Redis.
    expect(await db.prepare('SELECT 1 AS one').get()).toEqual({ one: 1 });
    await own.restart();
    await waitFor(() => insert.run(4));
  });

  it('that is restarted in between costs a caller time, not its write', async () => {
    const { own, other } = await startOwn();
    const db = await newTenant(other);
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)');
    own.kill();
    const waiting = [1, 2, 3].map(n => insert.run(n));
    await own.restart();
    for (const write of waiting) expect((await write).changes).toBe(1);
  });

  it('whose queue is too deep refuses writes, and says when to retry', async () => {
    const { other } = await startOwn({}, false);
    const db = other.tenant('deep');
    for (let n = 0; n < LIMITS.maxQueueDepth; n++) await db.enqueue('INSERT INTO t VALUES (?)', [n]);
    await expect(db.enqueue('INSERT INTO t VALUES (0)')).rejects.toMatchObject({
      code: 'TENANT_OVERLOADED',
      details: { tenant: 'deep', retryAfterMs: expect.any(Number) },
    });
    expect(await codeOf(other.tenant('other').enqueue('INSERT INTO t VALUES (0)'))).toBe('none');
  });

  it('that is out of memory refuses writes, and accepts nothing by halves', async () => {
    const { own, other } = await startOwn({ maxmemory: '6mb' }, false);
    const db = other.tenant('full');
    let accepted = 0;
    const code = await waitFor(
      async () => {
        const answer = await codeOf(db.enqueue('INSERT INTO t VALUES (?)', ['x'.repeat(50_000)]));
        if (answer === 'none') accepted++;
        return answer !== 'none' && answer;
      },
      { intervalMs: 0 },
    );
    expect(code).toBe('QUEUE_FULL');
    const connection = new Redis(own.url);
    onTestFinished(() => connection.disconnect());
    expect(await connection.llen('ow:default:{full}:tenant.full:wait')).toBe(accepted);
    expect(await connection.keys('ow:default:{full}:tenant.full:w-*')).toHaveLength(accepted);
  });

  it('without a broker: deadline, abort and close answer by whether the write was sent', async () => {
    const { other } = await startOwn({}, false);
    const insert = other.tenant('alone').prepare('INSERT INTO t VALUES (1)');
    const late = await insert
      .withOptions({ timeoutMs: 100 })
      .run()
      .catch(error => error);
    expect(late).toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { receiptId: expect.any(String) } });
    expect(await other.tenant('alone').receipt(late.details.receiptId).status()).toEqual({
      state: 'pending',
    });
    expect(
      await codeOf(other.tenant('alone').receipt(late.details.receiptId).committed({ timeoutMs: 50 })),
    ).toBe('OUTCOME_UNKNOWN');
    const abort = new AbortController();
    const unsent = insert.withOptions({ signal: abort.signal }).run();
    abort.abort(); // in the same turn: it has not left
    expect(await codeOf(unsent)).toBe('ABORTED');
    const again = new AbortController();
    const sent = insert.withOptions({ signal: again.signal }).run();
    setTimeout(() => again.abort(), 50);
    expect(await codeOf(sent)).toBe('OUTCOME_UNKNOWN');
    const outstanding = codeOf(insert.run());
    await waitFor(() => other.stats().outstandingWrites > 0);
    const closing = other.close({ timeoutMs: 100 });
    expect(await codeOf(insert.run())).toBe('CLOSED');
    await closing;
    expect(await outstanding).toBe('OUTCOME_UNKNOWN');
    expect(await codeOf(other.tenant('alone').prepare('SELECT 1').get())).toBe('CLOSED');
    await other.close();
  });
});

describe('the inbox', () => {
  it('may be deleted at any time: callers are settled all the same, and it works again', async () => {
    const other = await connectTo();
    const db = await newTenant(other);
    const insert = db.prepare('INSERT INTO t(n) VALUES (?)');
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    const key = eventsKey(inboxQueue('default', other.clientId));
    for (let n = 0; n < 20; n++) {
      const write = insert.run(n);
      await connection.del(key);
      await write;
    }
    const tookMs: number[] = [];
    for (let n = 100; n < 105; n++) {
      const started = performance.now();
      await insert.run(n);
      tookMs.push(performance.now() - started);
    }
    // By its event: asked for, each takes a second.
    expect(Math.min(...tookMs)).toBeLessThan(500);
  });

  it('is deleted when the client closes', async () => {
    const other = await connect({ redis: redis.url, dataDir: data.path });
    await newTenant(other);
    await other.close();
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    expect(await connection.exists(eventsKey(inboxQueue('default', other.clientId)))).toBe(0);
  });

  it('takes one connection, as commands do, however many tenants are written to', async () => {
    const other = await connectTo();
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    const before = await connection.client('LIST');
    await Promise.all(Array.from({ length: 30 }, () => newTenant(other)));
    const after = await connection.client('LIST');
    expect(String(after).split('\n').length).toBe(String(before).split('\n').length);
  });
});

describe('a program', () => {
  it('lets the process exit after close()', async () => {
    const script = `
      import { connect } from ${JSON.stringify(SDK)};
      const client = await connect({ redis: ${JSON.stringify(redis.url)}, dataDir: ${JSON.stringify(data.path)} });
      const db = client.tenant('program');
      await db.exec('CREATE TABLE IF NOT EXISTS t(n)');
      const receipt = await db.enqueue('INSERT INTO t VALUES (1)');
      await db.prepare('INSERT INTO t VALUES (2)').run();
      console.log(receipt.id, (await db.prepare('SELECT count(*) AS count FROM t').get()).count);
      await client.close();`;
    const program = await spawnProcess(process.execPath, ['--input-type=module', '-e', script]);
    const { code } = await program.exited;
    expect(program.stderr()).toBe('');
    expect(code).toBe(0);
    const [id, count] = program.stdout().trim().split(' ');
    expect(parseReceiptId(id!)).toMatchObject({ index: expect.any(Number) });
    expect(count).toBe('2');
  });
});
