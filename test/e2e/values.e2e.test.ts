import { type Onewriter, OnewriterError, type SqlParameter, type SqlValue } from '@onewriter/sdk';
import type { Service, TemporaryDirectory } from '@onewriter/testkit';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';
import { inFile } from './tenant-file.ts';

/*
 *   SDK ─▶ queue ─▶ thread ─▶ file ─▶ bare better-sqlite3
 *   ▲                 │ RETURNING      ├─▶ direct read of the SDK
 *   └── completion ◀──┘                ├─▶ POST /v1/…/query (the SDK without the files)
 *                                      └─▶ POST /query
 *   POST /query ─▶ queue ─▶ … ─▶ file ─▶ bare better-sqlite3
 */

const TENANT = 'values';

let services: GatewayServices;
let data: TemporaryDirectory;
let gateway: Service;
let client: Onewriter;
/** Reads through the gateway. */
let remote: Onewriter;
let token: string;
let runs = 0;

beforeAll(async () => {
  services = await startGatewayServices('values');
  ({ data, gateway, client, remote, token } = services);
  // A column without a type: SQLite keeps what it is given.
  await client.tenant(TENANT).exec('CREATE TABLE t(run INTEGER, n INTEGER, v)');
});

afterAll(() => services?.stop());

function doubleFromBits(bits: bigint): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
}

const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);

const storable: fc.Arbitrary<SqlParameter> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  // Subnormal doubles: no exponent, any fraction, either sign.
  fc
    .tuple(fc.boolean(), fc.bigInt(1n, 2n ** 52n - 1n))
    .map(([negative, fraction]) => doubleFromBits((negative ? 1n << 63n : 0n) | fraction)),
  fc.constantFrom(
    ...[
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      -0,
      0,
      5e-324,
      -5e-324,
      2.225073858507201e-308,
      Number.MIN_VALUE,
      Number.MAX_VALUE,
      Number.EPSILON,
    ],
    ...[2 ** 53, 2 ** 53 - 1, 2 ** 62, 2 ** 63, -(2 ** 63), 2 ** 64, 1e20, 1e21, 1e22, 0.1, 1 / 3],
  ),
  fc.bigInt(MIN_INT64, MAX_INT64),
  fc.constantFrom(
    ...[0n, -1n, MAX_INT64, MAX_INT64 - 1n, MIN_INT64, MIN_INT64 + 1n],
    ...[2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) + 1n, -(2n ** 53n), -(2n ** 53n) - 1n],
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom(
    ...['', '\0', 'a\0b\0', '\u{10ffff}', '\u{1f469}\u200d\u{1f680}', '\ufeff', '\uffff', '\u2028', '\x7f'],
    ...['e\u0301', '{"i":"1"}', '{"b":"AAAA"}', "'; DROP TABLE t; --", '"\\\n\r\t', 'null', '-0', '1e999'],
  ),
  fc.uint8Array({ maxLength: 80 }),
  fc.constantFrom(new Uint8Array(0), Uint8Array.of(0), Uint8Array.of(0xff, 0xfe), new Uint8Array(3_000)),
);

/** As SQLite stores it: a number is a double, also a whole one, and a bigint an integer. */
function stored(value: SqlParameter): SqlValue {
  return typeof value === 'boolean' ? Number(value) : value;
}

/** As readers get it: an integer is a number where that is exact. */
function asRead(value: SqlValue): SqlValue {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/** As POST /query answers it. Source: apps/gateway/README.md, "Values". JSON.stringify writes -0 as 0. */
function asPlainJson(value: SqlValue): unknown {
  const read = asRead(value);
  if (typeof read === 'bigint') return read.toString();
  if (read instanceof Uint8Array) return { type: 'Buffer', data: [...read] };
  if (Object.is(read, -0)) return 0;
  return typeof read === 'number' && !Number.isFinite(read) ? String(read) : read;
}

/**
 * As POST /query takes it, as JSON text. Source: as above. A double without a fraction is written with an exponent,
 * because a long row of digits is a 64-bit integer.
 */
function asJsonParameter(value: SqlParameter, n: number): string {
  if (typeof value === 'bigint') {
    const isLong = value > 2n ** 53n || value < -(2n ** 53n);
    return isLong && n % 2 === 0 ? value.toString() : JSON.stringify({ i: value.toString() });
  }
  if (value instanceof Uint8Array) {
    const bytes = Buffer.from(value);
    return JSON.stringify(n % 2 === 0 ? bytes : { b: bytes.toString('base64') });
  }
  if (Object.is(value, -0)) return n % 2 === 0 ? '-0' : '{"f":"-0"}';
  if (typeof value === 'number' && !Number.isFinite(value)) return JSON.stringify({ f: String(value) });
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    return value.toExponential();
  }
  return JSON.stringify(value);
}

/** Type and every bit, as text: equal exactly where the values are. */
function exactly(value: unknown): string {
  if (typeof value === 'number') {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    return `number ${value} ${view.getBigUint64(0).toString(16)}`;
  }
  if (typeof value === 'bigint') return `integer ${value}`;
  if (value instanceof Uint8Array) return `blob ${Buffer.from(value).toString('hex')}`;
  if (typeof value === 'string') return `text ${JSON.stringify(value)}`;
  return JSON.stringify(value);
}

/** The values of a run, read by better-sqlite3 alone: doubles are numbers, all integers bigint. */
function readBare(run: number): unknown[] {
  return inFile(data.path, TENANT, file =>
    file.prepare('SELECT v FROM t WHERE run = ? ORDER BY n').pluck().safeIntegers().all(run),
  );
}

function postQuery(query: string, params: string) {
  return post('/query', `{"tenantId":"${TENANT}","query":${JSON.stringify(query)},"params":${params}}`);
}

async function post(path: string, body: string) {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body,
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any };
}

describe('every value that SQLite can store', () => {
  it('is the same after queue, thread, file and each way of reading it', async () => {
    const db = client.tenant(TENANT);
    type Read = { v: SqlValue };
    const insert = db.prepare<SqlParameter[], Read>('INSERT INTO t(run, n, v) VALUES (?, ?, ?) RETURNING v');
    const select = 'SELECT v FROM t WHERE run = ? ORDER BY n';
    const values = fc.array(storable, { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(values, async values => {
        const run = ++runs;
        const inFileNow = values.map(value => exactly(stored(value)));
        const read = values.map(value => exactly(asRead(stored(value))));

        const returned = await Promise.all(values.map((value, n) => insert.get(run, n, value)));
        expect(returned.map(row => exactly(row?.v))).toEqual(read);
        expect(readBare(run).map(exactly)).toEqual(inFileNow);
        const direct = await db.prepare<[number], Read>(select).all(run);
        expect(direct.map(({ v }) => exactly(v))).toEqual(read);
        const tagged = await remote.tenant(TENANT).prepare<[number], Read>(select).all(run);
        expect(tagged.map(({ v }) => exactly(v))).toEqual(read);
        const plain = await postQuery(select, `[${run}]`);
        expect(plain).toEqual({
          status: 200,
          body: { type: 'all', result: values.map(value => ({ v: asPlainJson(stored(value)) })) },
        });

        const posted = ++runs;
        const { status, body } = await postQuery(
          `INSERT INTO t(run, n, v) VALUES ${values.map((_, n) => `(${posted}, ${n}, ?)`).join()}`,
          `[${values.map(asJsonParameter).join()}]`,
        );
        expect({ status, body }).toMatchObject({ status: 200, body: { result: { changes: values.length } } });
        expect(readBare(posted).map(exactly)).toEqual(inFileNow);
      }),
      { numRuns: 120 },
    );
  });
});

/** A tagged value, as a client in a language with 64-bit integers reads it. Source: apps/gateway/README.md, "Values". */
function untag(value: unknown): SqlValue {
  if (value === null || typeof value !== 'object') return value as null | number | string;
  const [[tag, text]] = Object.entries(value) as [[string, string]];
  if (tag === 'i') return BigInt(text);
  if (tag === 'b') return Buffer.from(text, 'base64');
  expect(tag).toBe('f');
  return Number(text);
}

describe('"values":"tagged"', () => {
  const PATH = '/v1/tenants/tagged';

  async function send(path: string, body: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(gateway.url + PATH + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    expect(response.status, text).toBeLessThan(300);
    return text;
  }

  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  const post = async (path: string, body: object, headers?: Record<string, string>): Promise<any> =>
    JSON.parse(await send(path, { values: 'tagged', ...body }, headers));

  /** Rows of a table, read by better-sqlite3 alone. */
  const inTable = (table: string, run?: number) =>
    inFile(data.path, 'tagged', file =>
      file
        .prepare(`SELECT v FROM ${table} WHERE run IS coalesce(?, run) ORDER BY id`)
        .pluck()
        .safeIntegers()
        .all(run ?? null)
        .map(exactly),
    );

  it('gives every value with its storage class, and takes it back as it was', async () => {
    const db = client.tenant('tagged');
    await db.exec(
      'CREATE TABLE a(id INTEGER PRIMARY KEY, run INTEGER, v); CREATE TABLE b(id INTEGER PRIMARY KEY, run INTEGER, v)',
    );
    const insert = 'INSERT INTO a(run, v) VALUES (?, ?) RETURNING v';
    const writes = (run: number, values: readonly unknown[]) =>
      values.map(value => ({ sql: insert, params: [run, value] }));
    const values = fc.array(storable, { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(values, async values => {
        const run = ++runs;
        const expected = values.map(value => exactly(stored(value)));
        await db.transaction(writes(run, values) as { sql: string; params: SqlParameter[] }[]);
        expect(inTable('a', run)).toEqual(expected);

        const read = await post('/query', {
          sql: 'SELECT v FROM a WHERE run = ? ORDER BY id',
          params: [run],
        });
        const answered = read.rows.map(([value]: [unknown]) => value);
        expect(answered.map((value: unknown) => exactly(untag(value)))).toEqual(expected);
        // Found by its key, which the gateway reads without a process of its own.
        const last = { sql: 'SELECT id, v FROM a WHERE id = ?', params: [{ i: String(await lastId(run)) }] };
        expect((await post('/query', last)).rows[0]).toEqual([last.params[0], answered.at(-1)]);

        const back = ++runs;
        const key = { 'idempotency-key': `back-${back}` };
        const written = await post('/transaction', { statements: writes(back, answered) }, key);
        expect(inTable('a', back)).toEqual(expected);
        expect(written.results.map((result: { rows: unknown[][] }) => result.rows[0]![0])).toEqual(answered);
        expect(written.results.at(-1).lastInsertRowid).toEqual({ i: String(await lastId(back)) });
        const replay = await post('/transaction', { statements: writes(back, answered) }, key);
        expect(replay.results).toEqual(written.results);
        expect(inTable('a', back)).toEqual(expected);
      }),
      { numRuns: 40 },
    );
    async function lastId(run: number) {
      return db
        .prepare<[number], { id: number }>('SELECT max(id) AS id FROM a WHERE run = ?')
        .get(run)
        .then(row => row!.id);
    }
  });

  it('is the same in streams, in receipts, and after export and import', async () => {
    const sent = [
      { i: '5' },
      5,
      { i: '9007199254740993' },
      { f: '9007199254740992' },
      { b: 'AP8=' },
      '5',
      null,
    ];
    const run = ++runs;
    for (const value of sent)
      await post('/query', { sql: 'INSERT INTO a(run, v) VALUES (?, ?)', params: [run, value] });
    const sql = 'SELECT v FROM a WHERE run = ? ORDER BY id';
    const lines = await send(
      '/query',
      { sql, params: [run], values: 'tagged', method: 'values' },
      { accept: 'application/x-ndjson' },
    );
    const [, ...rows] = lines
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    expect(rows.slice(0, -1)).toEqual(sent.map(value => [value]));

    const receipts = sent.map(async value => {
      const write = 'INSERT INTO a(run, v) VALUES (?, ?) RETURNING v, v, run';
      const { receiptId } = await post('/enqueue', { sql: write, params: [run + 1_000_000, value] });
      const receipt = JSON.parse(await send(`/receipts/${receiptId}?wait=20000`, undefined));
      expect(receipt).toMatchObject({ state: 'committed', result: { changes: 1 } });
      expect(receipt.result.rows).toEqual([[value, value, { i: String(run + 1_000_000) }]]);
      expect(receipt.result.lastInsertRowid).toEqual({ i: expect.any(String) });
    });
    await Promise.all(receipts);

    const exported = await send('/export?table=a', undefined);
    const imported = await send('/import?table=b', exported, { 'content-type': 'application/x-ndjson' });
    expect(imported).toContain('"event":"done"');
    expect(imported).toContain('"rejected":0');
    expect(inTable('b')).toEqual(inTable('a'));
  });
});

/** A string that no UTF-8 can hold. */
const loneSurrogate = fc
  .tuple(
    fc.string({ unit: 'binary', maxLength: 5 }),
    fc.integer({ min: 0xd800, max: 0xdfff }),
    fc.string({ unit: 'binary', maxLength: 5 }),
  )
  .map(([before, unit, after]) => before + String.fromCharCode(unit) + after)
  .filter(text => !text.isWellFormed());

describe('a value that SQLite could not return', () => {
  it('is refused with INVALID_VALUE, and the writes beside it are applied', async () => {
    const insert = client.tenant(TENANT).prepare<unknown[]>('INSERT INTO t(run, n, v) VALUES (?, ?, ?)');
    const refused = fc.oneof(
      fc.constant<unknown>(Number.NaN),
      fc.constantFrom<unknown>(undefined, Symbol('s'), new Date(0), {}, [1], () => 1),
      loneSurrogate,
      fc.constantFrom(MAX_INT64 + 1n, MIN_INT64 - 1n, 2n ** 64n),
      fc.oneof(fc.bigInt({ min: MAX_INT64 + 1n }), fc.bigInt({ max: MIN_INT64 - 1n })),
    );
    await fc.assert(
      fc.asyncProperty(refused, async value => {
        const run = ++runs;
        const [before, bad, after] = await Promise.allSettled([
          insert.run(run, 0, 'before'),
          insert.run(run, 1, value),
          insert.run(run, 2, 'after'),
        ]);
        expect([before.status, after.status]).toEqual(['fulfilled', 'fulfilled']);
        const error = (bad as PromiseRejectedResult).reason;
        expect(error).toBeInstanceOf(OnewriterError);
        expect(error.code).toBe('INVALID_VALUE');
        expect(readBare(run)).toEqual(['before', 'after']);
      }),
      { numRuns: 60 },
    );
  });

  it('is refused by /v1 with 400 and INVALID_VALUE, however JSON spells it', async () => {
    const spellings = fc.oneof(
      // JSON has no NaN; a number too large for a double is rather a mistake than an infinity.
      fc.constantFrom('1e999', '-1e999', '{"f":"NaN"}', '{"f":"1e999"}', '{"f":"+Infinity"}'),
      // Digits beyond 64 bits that no double has; those that one has are that double.
      fc.constantFrom('9223372036854775809', '-9223372036854775809', '{"i":"9223372036854775808"}'),
      fc.constantFrom('{"i":"1.5"}', '{"i":1}', '{"b":"A"}', '{"b":"*"}', '{}', '[1]', '{"x":"1"}'),
      fc.constantFrom('{"type":"Buffer","data":[256]}', '{"type":"Buffer","data":[-1]}', '{"type":"Buffer"}'),
      loneSurrogate.map(text => JSON.stringify(text)),
    );
    await fc.assert(
      fc.asyncProperty(spellings, async spelling => {
        const run = ++runs;
        const sql = `INSERT INTO t(run, n, v) VALUES (${run}, 0, ?)`;
        // The drop-in routes take names and lists among the values, as better-sqlite3 does.
        const answer = await post(`/v1/tenants/${TENANT}/query`, `{"sql":"${sql}","params":[${spelling}]}`);
        expect(answer).toMatchObject({ status: 400, body: { error: { code: 'INVALID_VALUE' } } });
        expect(readBare(run)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});
