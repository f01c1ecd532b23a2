import { readdirSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { tenantFile, trashDir } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import {
  type Service,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

const NDJSON = 'application/x-ndjson';
const TREE = 'CREATE TABLE tree(id INTEGER PRIMARY KEY, parent INT REFERENCES tree(id), name TEXT)';

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
let authorization: string;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('imports');
  // Where others wait, an open transaction is taken away soon.
  const env = { ONEWRITER_TRANSACTION_TIMEOUT_MS: '150' };
  broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path, env });
  gateway = await startGateway();
  authorization = `Bearer ${await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' })}`;
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
});
afterAll(async () => {
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

function startGateway(): Promise<Service> {
  return startService('gateway', { redisUrl: redis.url, dataDir: data.path });
}

/** A tenant of its own. */
async function newTenant(script: string): Promise<string> {
  const tenant = `im-${++tenants}`;
  const response = await fetch(`${gateway.url}/v1/tenants/${tenant}/script`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: script }),
  });
  expect(response.status, await response.text()).toBe(200);
  return tenant;
}

interface SendOptions {
  readonly type?: string;
  readonly key?: string;
  readonly url?: string;
  readonly signal?: AbortSignal;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look at what is there
type Events = any[];

function begin(tenant: string, query: string, body: unknown, options: SendOptions = {}): Promise<Response> {
  const { type = NDJSON, key, url = gateway.url, signal } = options;
  return fetch(`${url}/v1/tenants/${tenant}/import?${query}`, {
    method: 'POST',
    headers: {
      authorization,
      'content-type': type,
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    body,
    duplex: 'half',
    ...(signal === undefined ? {} : { signal }),
  } as RequestInit);
}

async function send(tenant: string, query: string, body: unknown, options?: SendOptions): Promise<Events> {
  const response = await begin(tenant, query, body, options);
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
}

function inFile<T>(tenant: string, look: (db: Database.Database) => T): T {
  const db = new Database(tenantFile(data.path, tenant), { readonly: true });
  try {
    return look(db);
  } finally {
    db.close();
  }
}

const rowsOf = (tenant: string, sql: string) => inFile(tenant, db => db.prepare(sql).raw().all());
const numberOf = (tenant: string, sql: string) => inFile(tenant, db => Number(db.prepare(sql).pluck().get()));

/** Rows `{"id":0}` … as they are asked for, in pieces. */
function numbered(count: number, onPiece: (rows: number) => Promise<void> = async () => {}) {
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (sent === count) {
        controller.close();
        return;
      }
      let text = '';
      for (const to = Math.min(count, sent + 500); sent < to; sent++)
        text += `{"id":${sent},"name":"row ${sent}"}\n`;
      controller.enqueue(Buffer.from(text));
      await onPiece(sent);
    },
  });
}

describe('one mark for an import', () => {
  it('applies every row once where the gateway is killed in the middle, and the import is sent again', async () => {
    const tenant = await newTenant('CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE log(id)');
    const doomed = await startGateway();
    onTestFinished(async () => void (await doomed.stop()));
    const rows = 20_000;
    const killed = numbered(rows, async sent => {
      if (sent < 6_000 || doomed.child.exitCode !== null || doomed.child.signalCode !== null) return;
      await waitFor(() => numberOf(tenant, 'SELECT count(*) FROM t') > 1_000, { what: 'rows' });
      doomed.kill();
    });
    await expect(send(tenant, 'table=t', killed, { key: 'k', url: doomed.url })).rejects.toThrow();
    const before = numberOf(tenant, 'SELECT count(*) FROM t');
    expect(before).toBeLessThan(rows);
    // The pieces that it had sent may be applied while the import runs again.
    const events = await send(tenant, 'table=t', numbered(rows), { key: 'k' });
    const done = events.at(-1);
    expect(done).toMatchObject({ event: 'done', idempotencyKey: 'k', rows, rejected: 0, unknown: 0 });
    expect(done.skipped).toBeGreaterThanOrEqual(1_000);
    expect(done.accepted + done.skipped).toBe(rows);
    expect(rowsOf(tenant, 'SELECT count(*), min(id), max(id), count(DISTINCT id) FROM t')).toEqual([
      [rows, 0, rows - 1, rows],
    ]);
    // It has no more than one key, whatever the number of rows, and the ledger no result for each row.
    expect(numberOf(tenant, 'SELECT count(*) FROM sqlite_onewriter_keys')).toBe(1);
    expect(numberOf(tenant, 'SELECT sum(length(results)) FROM sqlite_onewriter_ledger')).toBeLessThan(rows);
    const again = await send(tenant, 'table=t', numbered(rows), { key: 'k' });
    expect(again).toEqual([{ ...done, accepted: 0, skipped: rows, commitSeq: expect.any(Number) }]);
    expect(again[0].commitSeq).toBeGreaterThanOrEqual(done.commitSeq);
  });

  it('lets two requests with one key share the work', async () => {
    const tenant = await newTenant('CREATE TABLE t(id INTEGER, name TEXT)');
    const both = await Promise.all([1, 2].map(() => send(tenant, 'table=t', numbered(10_000), { key: 'k' })));
    const ends = both.map(events => events.at(-1));
    for (const end of ends)
      expect(end).toMatchObject({ event: 'done', rows: 10_000, rejected: 0, unknown: 0 });
    expect(ends[0].accepted + ends[1].accepted).toBe(10_000);
    expect(numberOf(tenant, 'SELECT count(*) FROM t')).toBe(10_000);
  });

  it('says what was applied where the upload breaks off, and applies no half line', async () => {
    const tenant = await newTenant('CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)');
    const { hostname, port } = new URL(gateway.url);
    const socket = connectSocket(Number(port), hostname);
    socket.on('error', () => {});
    onTestFinished(() => void socket.destroy());
    const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
    socket.write(
      `POST /v1/tenants/${tenant}/import?table=t HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: ${authorization}\r\n` +
        `Content-Type: ${NDJSON}\r\nIdempotency-Key: broken\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    socket.write(chunk(Array.from({ length: 100 }, (_, id) => `{"id":${id}}\n`).join('')));
    socket.write(chunk('{"id":100'));
    await waitFor(() => numberOf(tenant, 'SELECT count(*) FROM t') === 100, {
      what: 'the rows to be written',
    });
    socket.destroy();
    await waitFor(() => gateway.logs().includes('"idempotencyKey":"broken"'), { what: 'a line in the log' });
    const line = gateway
      .logs()
      .split('\n')
      .find(text => text.includes('"idempotencyKey":"broken"'))!;
    expect(JSON.parse(line)).toMatchObject({ tenant, rows: 100, accepted: 100, error: { code: 'ABORTED' } });
    const rest = Array.from({ length: 103 }, (_, id) => `{"id":${id}}\n`).join('');
    expect(await send(tenant, 'table=t', rest, { key: 'broken' })).toEqual([
      expect.objectContaining({ event: 'done', rows: 103, accepted: 3, skipped: 100 }),
    ]);
  });

  it('tries rows that were refused again, and finds the one of a piece that ends its transaction', async () => {
    const tenant = await newTenant(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, ref INT REFERENCES t(id));
       CREATE TRIGGER g BEFORE INSERT ON t WHEN new.id = 700 BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END`,
    );
    const lines = Array.from(
      { length: 1_000 },
      (_, id) => `{"id":${id}${id === 3 ? ',"ref":999' : ''}}\n`,
    ).join('');
    const first = await send(tenant, 'table=t', lines, { key: 'k' });
    expect(
      first.map(({ event, line, error }) => [event, line, error?.details?.sqliteCode ?? error?.message]),
    ).toEqual([
      ['rejected', 4, 'SQLITE_CONSTRAINT_FOREIGNKEY'],
      ['rejected', 701, 'SQLITE_CONSTRAINT_TRIGGER'],
      ['done', undefined, undefined],
    ]);
    expect(first.at(-1)).toMatchObject({ accepted: 998, rejected: 2 });
    const second = await send(tenant, 'table=t', lines, { key: 'k' });
    expect(second.at(-1)).toMatchObject({ accepted: 1, skipped: 998, rejected: 1 });
    expect(rowsOf(tenant, 'SELECT ref FROM t WHERE id = 3')).toEqual([[999]]);
  });

  it('lets no row in without its parent where foreign keys are deferred, and takes no other for it', async () => {
    const tenant = await newTenant(
      'CREATE TABLE t(id INTEGER PRIMARY KEY, ref INT REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)',
    );
    const body = '{"id":3,"ref":3}\n{"id":4,"ref":3}\n{"id":5,"ref":6}\n{"id":7,"ref":4}\n';
    const events = await send(tenant, 'table=t', body);
    expect(events.filter(({ event }) => event === 'rejected').map(({ line }) => line)).toEqual([3]);
    expect(rowsOf(tenant, 'SELECT id FROM t')).toEqual([[3], [4], [7]]);
  });
});

describe('imports at the same time', () => {
  /** A metric of the gateway: the sum of its lines that have this text. */
  async function metric(text: string): Promise<number> {
    const response = await fetch(`${gateway.url}/metrics`, { headers: { authorization } });
    const lines = (await response.text()).split('\n').filter(line => line.startsWith(`onewriter_${text}`));
    expect(lines, text).not.toEqual([]);
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  it('hold a bounded number of rows of a tenant, are pushed back and not refused, and hold nothing up', async () => {
    const [tenant, other] = [
      await newTenant('CREATE TABLE t(id INTEGER, name TEXT)'),
      await newTenant('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)'),
    ];
    // All streams of writes that a tenant may have.
    const [rows, imports] = [25_000, 8];
    const errorsBefore = await metric('client_errors_total');
    const all = Array.from({ length: imports }, () => send(tenant, 'table=t', numbered(rows)));
    let ended = false;
    let reads = 0;
    const read = async () => {
      while (!ended) {
        const response = await fetch(`${gateway.url}/v1/tenants/${other}/query`, {
          method: 'POST',
          headers: { authorization, 'content-type': 'application/json' },
          body: '{"sql":"SELECT id FROM t WHERE id = 1"}',
        });
        expect(response.status, await response.text()).toBe(200);
        reads++;
      }
    };
    const reading = read();
    const ends = (await Promise.all(all)).map(events => events.at(-1));
    ended = true;
    await reading;
    for (const end of ends) expect(end).toMatchObject({ event: 'done', accepted: rows, unknown: 0 });
    expect(numberOf(tenant, 'SELECT count(*) FROM t')).toBe(imports * rows);
    expect(reads).toBeGreaterThan(imports);
    expect(await metric('client_errors_total')).toBe(errorsBefore);
    // The bounds of stream-room.ts, with one row more of each stream.
    expect(await metric('gateway_stream_peak{of="tenant",unit="writes"}')).toBeLessThanOrEqual(
      4_000 + imports,
    );
    expect(await metric('gateway_stream_peak{of="tenant",unit="writes"}')).toBeGreaterThan(2_000);
    expect(await metric('gateway_stream_peak{of="tenant",unit="bytes"}')).toBeLessThanOrEqual(
      8 * 1024 * 1024,
    );
    for (const name of ['write_streams', 'stream_writes', 'stream_bytes'])
      expect(await metric(`gateway_${name}`), name).toBe(0);
  });

  it('end where their sender goes away: nothing more is sent, and what was on its way is counted as unknown', async () => {
    const tenant = await newTenant('CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)');
    const gone = new AbortController();
    const rows = 2_000_000;
    const ending = send(tenant, 'table=t', numbered(rows), { key: 'left', signal: gone.signal });
    const refused = expect(ending).rejects.toThrow();
    await waitFor(() => numberOf(tenant, 'SELECT count(*) FROM t') > 2_000, { what: 'rows' });
    gone.abort();
    await refused;
    await waitFor(() => gateway.logs().includes('"idempotencyKey":"left"'), { what: 'a line in the log' });
    const line = gateway
      .logs()
      .split('\n')
      .find(text => text.includes('"idempotencyKey":"left"'))!;
    const end = JSON.parse(line);
    expect(end).toMatchObject({ tenant, error: { code: 'ABORTED' } });
    // Four pieces.
    expect(end.unknown).toBeLessThanOrEqual(2_000);
    expect(end.accepted).toBeGreaterThan(2_000);
    await waitFor(async () => (await metric('gateway_write_streams')) === 0, { what: 'the stream to end' });
    expect(await metric('gateway_stream_writes')).toBe(0);
    const applied = numberOf(tenant, 'SELECT count(*) FROM t');
    expect(applied).toBeGreaterThanOrEqual(end.accepted);
    expect(applied).toBeLessThanOrEqual(end.accepted + end.unknown);
  });

  it('push back lines that are enqueued, by their bytes', async () => {
    const tenant = await newTenant('CREATE TABLE t(v)');
    const lines = Array.from({ length: 200 }, (_, id) =>
      JSON.stringify({ sql: 'INSERT INTO t VALUES (?)', params: [`${id}`.padEnd(200_000, 'x')] }),
    );
    const response = await fetch(`${gateway.url}/v1/tenants/${tenant}/enqueue`, {
      method: 'POST',
      headers: { authorization, 'content-type': NDJSON },
      body: lines.join('\n'),
    });
    const answers = (await response.text()).trimEnd().split('\n');
    expect(answers.map(answer => JSON.parse(answer))).toEqual(
      lines.map((_, index) => ({ index, receiptId: expect.any(String) })),
    );
    // 40 MB in all; a stream has 4 MiB.
    expect(await metric('gateway_stream_peak{of="all",unit="bytes"}')).toBeLessThanOrEqual(5 * 1024 * 1024);
    await waitFor(() => numberOf(tenant, 'SELECT count(*) FROM t') === lines.length, { what: 'the writes' });
  });
});

describe('an import as one transaction', () => {
  it('takes rows that refer forward, in a tree and in two tables, where row by row they are refused', async () => {
    const tenant = await newTenant(
      `${TREE}; CREATE TABLE leaf(id INTEGER PRIMARY KEY, tree INT REFERENCES tree(id))`,
    );
    const count = 3_000;
    // Each child is in front of its parent.
    const tree = Array.from({ length: count }, (_, id) =>
      JSON.stringify({ id, parent: id === count - 1 ? null : id + 1 }),
    );
    const rowByRow = await send(tenant, 'table=tree&maxRejected=2', tree.join('\n'));
    expect(rowByRow.at(-1)).toMatchObject({ event: 'failed', accepted: 0, error: { details: { line: 3 } } });
    const done = { event: 'done', rows: count, accepted: count, skipped: 0, rejected: 0, unknown: 0 };
    const first = await send(tenant, 'table=tree&deferred=true', tree.join('\n'), { key: 'k' });
    expect(first.at(-1)).toMatchObject({ ...done, commitSeq: numberOf(tenant, COMMIT_SEQ) });
    const again = await send(tenant, 'table=tree&deferred=true', tree.join('\n'), { key: 'k' });
    expect(again.at(-1)).toMatchObject({ ...done, accepted: 0, skipped: count });
    const other = await send(tenant, 'table=tree&deferred=true', tree.slice(1).join('\n'), { key: 'k' });
    expect(other.at(-1)).toMatchObject({ event: 'failed', error: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    expect(numberOf(tenant, 'SELECT count(*) FROM tree')).toBe(count);

    const both =
      '{"table":"leaf","row":{"id":1,"tree":9001}}\n{"table":"tree","row":{"id":9001,"parent":9002}}\n' +
      '{"table":"tree","row":{"id":9002}}\n{"onewriter_export":{"rows":3}}\n';
    expect((await send(tenant, 'deferred=true', both)).at(-1)).toMatchObject({ event: 'done', accepted: 3 });
    expect(inFile(tenant, db => db.pragma('foreign_key_check'))).toEqual([]);
  });

  it('applies nothing where a row is refused or has no parent, and names it', async () => {
    const tenant = await newTenant(TREE);
    const orphans = '{"id":1,"parent":2}\n{"id":2}\n{"id":3,"parent":77}\n{"id":4,"parent":4}\n';
    const broken = await send(tenant, 'table=tree&deferred=true', orphans);
    expect(broken).toEqual([
      expect.objectContaining({
        event: 'failed',
        accepted: 0,
        error: {
          code: 'CONSTRAINT_VIOLATION',
          message:
            'FOREIGN KEY constraint failed; nothing was applied. tree row 3 (parent) has no parent in tree.',
          details: {
            sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY',
            violations: [{ table: 'tree', rowid: '3', parent: 'tree', columns: 'parent' }],
          },
        },
      }),
    ]);
    const rows = Array.from({ length: 2_500 }, (_, id) => `{"id":${id === 2_400 ? 5 : id}}`).join('\n\n');
    const twice = await send(tenant, 'table=tree&deferred=true', rows);
    expect(twice.at(-1)).toMatchObject({
      event: 'failed',
      error: { message: expect.stringMatching(/^Line 4801: UNIQUE constraint failed: tree\.id; nothing/) },
    });
    const unread = await send(tenant, 'table=tree&deferred=true', '{"id":1}\n{"ID":1,"id":2}\n');
    expect(unread).toMatchObject([
      { event: 'rejected', line: 2 },
      { event: 'failed', error: { message: 'Some rows cannot be read; nothing was applied.' } },
    ]);
    expect(numberOf(tenant, 'SELECT count(*) FROM tree')).toBe(0);
    // Its folder is gone.
    expect(readdirSync(trashDir(data.path)).filter(name => name.includes(tenant))).toEqual([]);
  });

  it('is taken away, whole, where others wait to write for too long', async () => {
    const tenant = await newTenant(`${TREE}; CREATE TABLE other(n)`);
    let ended = false;
    const write = async () => {
      while (!ended) {
        const response = await fetch(`${gateway.url}/v1/tenants/${tenant}/query`, {
          method: 'POST',
          headers: { authorization, 'content-type': 'application/json' },
          body: '{"sql":"INSERT INTO other VALUES (1)"}',
        });
        expect(response.status, await response.text()).toBe(200);
      }
    };
    const writers = [write(), write()];
    const rows = Array.from({ length: 100_000 }, (_, id) => `{"id":${id}}`).join('\n');
    const events = await send(tenant, 'table=tree&deferred=true', rows);
    ended = true;
    await Promise.all(writers);
    expect(events.at(-1)).toMatchObject({
      event: 'failed',
      accepted: 0,
      unknown: 0,
      error: {
        code: 'TRANSACTION_TIMEOUT',
        message: expect.stringContaining('ONEWRITER_TRANSACTION_MAX_MS'),
      },
    });
    expect(numberOf(tenant, 'SELECT count(*) FROM tree')).toBe(0);
  });
});

describe('values', () => {
  it('go through an export and an import unchanged, of any type', async () => {
    const tenant = await newTenant(
      `CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(id INTEGER PRIMARY KEY, v); CREATE TABLE c(v);
       INSERT INTO a(v) VALUES (5), (5.0), (-0.0), (0.1), (1e300), (9e999), (-9e999), (9007199254740993), (1e18), (NULL),
         ('5'), (''), ('a' || char(0) || 'b'), ('"{[,'), (x''), (x'00ff'), (char(0x2028)), (-9223372036854775808);
       INSERT INTO c VALUES (NULL), (''), ('x')`,
    );
    const exported = async (query: string) =>
      await (
        await fetch(`${gateway.url}/v1/tenants/${tenant}/export?${query}`, { headers: { authorization } })
      ).text();
    const values = (table: string) => rowsOf(tenant, `SELECT id, typeof(v), quote(v) FROM ${table}`);
    for (const query of ['table=b', 'table=b&deferred=true&onConflict=replace']) {
      const events = await send(tenant, query, await exported('table=a'));
      expect(events).toMatchObject([{ event: 'done', accepted: 18 }]);
      expect(values('b')).toEqual(values('a'));
    }
    for (const more of ['', '&deferred=true']) {
      const events = await send(
        tenant,
        `table=b&onConflict=ignore${more}`,
        '{"id":1}\n{"id":99}\n{"id":2}\n',
      );
      // The second time 99 is there, too.
      expect(events).toMatchObject([{ event: 'done', accepted: 3, ignored: more === '' ? 2 : 3 }]);
    }
    const csv = 'v\r\n\r\n""\r\nx\r\n';
    expect(await send(tenant, 'table=c', csv, { type: 'text/csv' })).toMatchObject([
      { event: 'done', accepted: 3 },
    ]);
    expect(rowsOf(tenant, 'SELECT count(*) FROM c GROUP BY v')).toEqual([[2], [2], [2]]);
  });
});

describe('row ids', () => {
  it('go through an export and an import beside a key that is not the row id', async () => {
    const columns = '(id INTEGER PRIMARY KEY DESC, v)';
    const tenant = await newTenant(
      `CREATE TABLE a${columns}; CREATE TABLE b${columns}; INSERT INTO a(rowid, id, v) VALUES (100, 1, 'x'), (99, 2, 'y')`,
    );
    const path = `${gateway.url}/v1/tenants/${tenant}/export?table=a`;
    const exported = await (await fetch(path, { headers: { authorization } })).text();
    expect(await send(tenant, 'table=b', exported)).toMatchObject([{ event: 'done', accepted: 2 }]);
    const rows = (table: string) => rowsOf(tenant, `SELECT rowid, id, v FROM ${table} ORDER BY id`);
    expect(rows('b')).toEqual(rows('a'));
  });
});

describe('onewriter import', () => {
  it('names lines and causes, takes separators and one transaction, and continues under its key', async () => {
    const tenant = await newTenant(TREE);
    const env = { ONEWRITER_GATEWAY_URL: gateway.url, ONEWRITER_TOKEN: authorization.slice(7) };
    const file = (name: string, content: string) => {
      writeFileSync(join(data.path, name), content);
      return join(data.path, name);
    };
    const run = (...args: string[]) => runCli(['import', tenant, ...args, '--data-dir', data.path], { env });
    const [semicolons, array] = await Promise.all([
      run(file('a.csv', 'id;name\n1;x\n'), '--table', 'tree'),
      run(file('b.ndjson', '[\n{"id":1},\n{"id":2}\n]\n'), '--table', 'tree'),
    ]);
    expect(semicolons).toMatchObject({ code: 1, stderr: expect.stringContaining('separator=semicolon') });
    expect(array).toMatchObject({ code: 1, stderr: expect.stringContaining('Line 1 begins with "["') });
    expect(numberOf(tenant, 'SELECT count(*) FROM tree')).toBe(0);

    const tree = file('c.csv', 'id;parent;name\n1;2;"a;\nb"\n2;;c\n2;;d\n');
    const rowByRow = await run(tree, '--table', 'tree', '--separator', 'semicolon', '--idempotency-key', 'k');
    expect(rowByRow).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(
        /^1 row of 3 committed .*, 2 rejected\n {2}line 2: CONSTR.*\n {2}line 5: CONSTR/,
      ),
    });
    const again = await run(
      tree,
      '--table',
      'tree',
      '--separator',
      'semicolon',
      '--idempotency-key',
      'k',
      '--json',
    );
    expect(parseJson(again)).toMatchObject({
      accepted: 1,
      skipped: 1,
      rejected: 1,
      rejections: [{ row: 2, line: 5 }],
    });
    expect(rowsOf(tenant, 'SELECT id, parent, name FROM tree')).toEqual([
      [1, 2, 'a;\nb'],
      [2, null, 'c'],
    ]);
    const deferred = await run(
      file('d.ndjson', '{"table":"tree","row":{"id":3,"parent":4}}\n{"table":"tree","row":{"id":4}}\n'),
      '--deferred',
    );
    expect(deferred).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`2 rows of 2 committed into ${tenant}\n`),
    });
  });
});

const COMMIT_SEQ =
  'SELECT max(commit_seq, coalesce((SELECT commit_seq FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1), 0)) FROM sqlite_onewriter_state';
