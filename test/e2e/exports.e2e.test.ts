import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { get } from 'node:http';
import { dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import {
  CLI_MAIN,
  type Service,
  spawnProcess,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './cli-run.ts';

const FORMATS = ['ndjson', 'csv', 'sql', 'sqlite'] as const;
/** Larger than all buffers between the exporting process and a reader that has stopped. */
const ROWS = 20_000;

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
/** Stops exports after a second. */
let hasty: Service;
/** Ends exports behind which a megabyte is written. */
let strict: Service;
let headers: { readonly authorization: string };
let cliEnv: Record<string, string>;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('exports');
  const options = { redisUrl: redis.url, dataDir: data.path };
  broker = await startService('broker', options);
  gateway = await startService('gateway', { ...options, env: { ONEWRITER_READ_MEMORY_BYTES: '268435456' } });
  hasty = await startService('gateway', { ...options, env: { ONEWRITER_EXPORT_TIMEOUT_MS: '1000' } });
  strict = await startService('gateway', {
    ...options,
    env: { ONEWRITER_SNAPSHOT_LOG_BYTES: '1048576' },
  });
  const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'read' });
  headers = { authorization: `Bearer ${token}` };
  cliEnv = {
    ONEWRITER_DATA_DIR: data.path,
    ONEWRITER_REDIS_URL: redis.url,
    ONEWRITER_GATEWAY_URL: gateway.url,
    ONEWRITER_TOKEN: token,
    ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
  };
  await makeTenant('large', `${fill(ROWS)}; CREATE VIEW v AS SELECT id, s FROM t`);
  await makeTenant('small', 'CREATE TABLE t(id INTEGER PRIMARY KEY, s); INSERT INTO t VALUES (1, 2), (3, 4)');
  const written = await Promise.all([1, 2, 3].map(n => onewriter('sql', 'busy', `CREATE TABLE t${n}(a)`)));
  expect(written.map(({ code }) => code)).toEqual([0, 0, 0]);
}, 60_000);
afterAll(async () => {
  await hasty?.stop();
  await strict?.stop();
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

const fill = (rows: number) => `CREATE TABLE t(id INTEGER PRIMARY KEY, s TEXT);
  WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${rows})
  INSERT INTO t SELECT i, hex(randomblob(500)) FROM c`;

/** A tenant's file as it was before any broker opened it. */
async function makeTenant(tenant: string, script: string, unsafe = false): Promise<string> {
  const path = tenantFile(data.path, tenant);
  await mkdir(dirname(path), { recursive: true });
  const db = new Database(path);
  if (unsafe) db.unsafeMode(true);
  db.exec(script);
  db.close();
  return path;
}

const query = (format: string) => `format=${format}${format === 'csv' ? '&table=t' : ''}`;

function ask(tenant: string, search: string, from: Service = gateway): Promise<Response> {
  return fetch(`${from.url}/v1/tenants/${tenant}/export?${search}`, { headers });
}

/** The processes that export for a gateway. */
function exportingProcesses(parent: Service): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const parentPid = Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]);
        return (
          parentPid === parent.child.pid &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('export-process')
        );
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);
}

/** What the answer brings until it breaks; a whole one fails the test. */
async function readUntilBroken(response: Response, between: () => Promise<void>): Promise<string> {
  expect([200, 504]).toContain(response.status);
  // Stopped before the first byte: an error as any other.
  if (response.status === 504) return await response.text();
  const reader = response.body!.getReader();
  const chunks: Uint8Array[] = [(await reader.read()).value!];
  await between();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
    }
  } catch {
    return Buffer.concat(chunks).toString('latin1');
  }
  throw new Error(`The answer ended as if it were whole, after ${Buffer.concat(chunks).length} bytes.`);
}

function onewriter(...args: string[]) {
  return runCli(args, { env: cliEnv });
}

describe('an export that breaks off is never taken for whole', () => {
  it.each(FORMATS)('when its process is killed: %s', async format => {
    const text = await readUntilBroken(await ask('large', query(format)), async () => {
      const [pid] = exportingProcesses(gateway);
      process.kill(pid!, 'SIGKILL');
    });
    expect(text).not.toContain('COMMIT;');
    expect(text).not.toContain('onewriter_export');
  });

  it('when its reader has stopped reading, and its place is free again', async () => {
    // As many as may run at a time; none is read.
    const stalled = await Promise.all(
      [1, 2, 3, 4].map(() => ask('large', 'format=sql', hasty).then(response => response.body!.getReader())),
    );
    await waitFor(() => exportingProcesses(hasty).length === 0, { what: 'the exports to be stopped' });
    await waitFor(async () => (await ask('small', 'table=t', hasty)).status === 200, {
      what: 'a free place',
    });
    await Promise.all(stalled.map(reader => reader.cancel().catch(() => {})));
  });

  it.each(FORMATS)('when it takes too long: %s', async format => {
    await readUntilBroken(await ask('large', query(format), hasty), async () => {
      await waitFor(() => exportingProcesses(hasty).length === 0, { what: 'the export to be stopped' });
    });
  });

  it.each(['ndjson', 'csv', 'sql'])('when much is written behind its snapshot: %s', async format => {
    const tenant = `pressed-${format}`;
    const path = await makeTenant(tenant, `PRAGMA journal_mode = WAL; ${fill(ROWS)}`);
    const db = new Database(path);
    try {
      db.pragma('busy_timeout = 0');
      const response = await ask(tenant, query(format), strict);
      expect(response.status).toBe(200);
      db.exec('CREATE TABLE more(a); INSERT INTO more VALUES (zeroblob(4000000))');
      expect(db.pragma('wal_checkpoint(TRUNCATE)')).toMatchObject([{ busy: 1 }]);
      await readUntilBroken(response, async () => {
        await waitFor(() => exportingProcesses(strict).length === 0, { what: 'the export to be ended' });
      });
      // The gateway answers of the file, too, with a snapshot of its own for a moment.
      const isCut = () => (db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[])[0]!.busy === 0;
      await waitFor(isCut, { what: 'the log to be cut' });
      expect(strict.logs()).toMatch(/SNAPSHOT_ENDED/);
    } finally {
      db.close();
    }
  });

  it.each(['ndjson', 'csv', 'sql'])(
    'when the index of the log (-shm) is deleted under it: %s',
    async format => {
      const tenant = `unguarded-${format}`;
      const path = await makeTenant(tenant, `PRAGMA journal_mode = WAL; ${fill(ROWS)}`);
      const db = new Database(path);
      try {
        const response = await ask(tenant, query(format));
        expect(response.status).toBe(200);
        const text = await readUntilBroken(response, async () => rmSync(`${path}-shm`));
        expect(text).not.toContain('onewriter_export');
        expect(gateway.logs()).toMatch(/SNAPSHOT_ENDED/);
      } finally {
        db.close();
      }
    },
  );

  it('when a page is damaged', async () => {
    const path = await makeTenant('damaged', fill(3_000));
    const file = await open(path, 'r+');
    const { size } = await file.stat();
    await file.write(Buffer.alloc(4096, 0xff), 0, 4096, Math.floor(size / 2 / 4096) * 4096);
    await file.close();
    for (const format of ['ndjson', 'csv', 'sql'] as const) {
      const response = await ask('damaged', query(format));
      const text = await readUntilBroken(response, async () => {});
      expect(text).not.toContain('COMMIT;');
      expect(text).not.toContain('onewriter_export');
    }
    const copied = await ask('damaged', 'format=sqlite');
    expect(copied.status).toBe(500);
    expect(await copied.json()).toMatchObject({ error: { code: 'DATABASE_CORRUPT' } });

    for (const [format, ending] of Object.entries({
      sql: 'sql',
      ndjson: 'ndjson',
      csv: 'csv',
      sqlite: 'db',
    })) {
      const path = join(data.path, `damaged.${ending}`);
      const table = format === 'csv' ? ['--table', 't'] : [];
      const result = await onewriter('export', 'damaged', path, ...table);
      expect(result).toMatchObject({ code: 1, stdout: '' });
      expect(result.stderr).toContain(format === 'sqlite' ? 'DATABASE_CORRUPT' : 'broke off');
      expect(readdirSync(data.path).filter(name => name.startsWith('damaged'))).toEqual([]);
    }
  });

  it('when a value needs more memory than an export may take', async () => {
    await makeTenant('heavy', `${fill(2_000)}; INSERT INTO t VALUES (3000, zeroblob(120000000))`);
    for (const format of ['ndjson', 'sql'] as const) {
      await readUntilBroken(await ask('heavy', query(format)), async () => {});
    }
    expect((await ask('heavy', 'format=sqlite')).headers.get('content-length')).toBe(
      String((await stat(tenantFile(data.path, 'heavy'))).size),
    );
  });

  it('when a table is of a module that is not there: refused with its name, and the file is still to be had', async () => {
    await makeTenant(
      'unknown',
      `CREATE TABLE t(a); INSERT INTO t VALUES (1); PRAGMA writable_schema = ON;
       INSERT INTO sqlite_schema VALUES ('table', 'map', 'map', 0, 'CREATE VIRTUAL TABLE map USING elsewhere(x)')`,
      true,
    );
    for (const search of ['format=sql', 'format=ndjson', 'format=csv&table=map']) {
      const response = await ask('unknown', search);
      expect(response.status).toBe(422);
      const message = expect.stringMatching(/map cannot be read \(no such module: elsewhere\)/);
      expect(await response.json()).toMatchObject({ error: { code: 'SQL_ERROR', message } });
    }
    expect((await ask('unknown', 'table=t')).status).toBe(200);
    const copied = await ask('unknown', 'format=sqlite');
    expect(copied.status).toBe(200);
    expect((await copied.arrayBuffer()).byteLength).toBe(Number(copied.headers.get('content-length')));
  });

  it('when the disk of the receiver is full', async () => {
    const path = join(data.path, 'too-large.sql');
    // A file may not be larger than this; a full disk fails at the same place.
    const limited = await spawnProcess(
      'sh',
      ['-c', 'ulimit -f 2000; exec "$@"', 'sh', process.execPath, CLI_MAIN, 'export', 'large', path],
      { env: { ...withoutSettings(), ...cliEnv } },
    );
    expect((await limited.exited).code).toBe(1);
    expect(limited.stderr()).toMatch(/^onewriter: DATABASE_\w+ Cannot write the export/);
    const full = await spawnProcess(
      'sh',
      [
        '-c',
        'exec "$@" > /dev/full',
        'sh',
        process.execPath,
        CLI_MAIN,
        'export',
        'small',
        '-',
        '--format',
        'sql',
      ],
      { env: { ...withoutSettings(), ...cliEnv } },
    );
    expect((await full.exited).code).toBe(1);
    expect(full.stderr()).toMatch(/^onewriter: DATABASE_\w+ Cannot write/);
    expect(full.stderr()).not.toContain('    at ');
    expect(readdirSync(data.path).filter(name => name.startsWith('too-large'))).toEqual([]);
  });
});

describe('a whole export', () => {
  it('says so at its end, or has a length', async () => {
    const rows = await (await ask('small', 'table=t')).text();
    expect(rows.trimEnd().split('\n').at(-1)).toBe('{"onewriter_export":{"rows":2}}');
    expect(await (await ask('small', 'format=sql')).text()).toMatch(/\nCOMMIT;\n$/);
    const copy = await ask('small', 'format=sqlite');
    expect((await copy.arrayBuffer()).byteLength).toBe(Number(copy.headers.get('content-length')));
    for (const search of ['table=t', 'format=csv&table=t', 'format=sql']) {
      const trailers = await new Promise((resolve, reject) => {
        get(`${gateway.url}/v1/tenants/small/export?${search}`, { headers }, response => {
          response.resume().on('end', () => resolve(response.trailers));
        }).on('error', reject);
      });
      expect(trailers, search).toEqual({ 'export-rows': '2' });
    }
  });

  it('is of a view, too, and has no two columns of one name', async () => {
    await makeTenant('twins', 'CREATE VIEW v AS SELECT 1 AS name, 2 AS NAME, 3 AS name, 4 AS "__proto__"');
    expect(await (await ask('twins', 'format=csv&table=v')).text()).toBe(
      'name,NAME:1,name:2,__proto__\r\n1,2,3,4\r\n',
    );
    const [row] = (await (await ask('twins', 'table=v&values=plain')).text()).split('\n');
    expect(row).toBe('{"name":1,"NAME:1":2,"name:2":3,"__proto__":4}');
  });

  it('is refused where its format cannot hold a value', async () => {
    await makeTenant(
      'raw',
      `CREATE TABLE t(a TEXT, b); INSERT INTO t VALUES (CAST(x'ff' AS TEXT), 1);
       CREATE TABLE one(a); INSERT INTO one VALUES (1), (NULL);
       CREATE VIRTUAL TABLE bare USING fts5(x, content='')`,
    );
    await expect((await ask('raw', 'format=csv&table=t')).text()).rejects.toThrow();
    await expect((await ask('raw', 'table=t&values=plain')).text()).rejects.toThrow();
    const exact = await (await ask('raw', 'table=t')).text();
    expect(exact.split('\n')[0]).toBe('{"rowid":{"i":"1"},"a":{"t":"/w=="},"b":{"i":"1"}}');
    expect((await ask('raw', 'table=bare')).status).toBe(400);
    expect(await (await ask('raw', 'format=csv&table=one')).text()).toBe('a\r\n1\r\n\r\n');
    const all = await (await ask('raw', '')).text();
    expect(all).toContain('"omitted":[{"table":"bare"');
    expect((await onewriter('export', 'raw', join(data.path, 'raw.csv'), '--table', 't')).code).toBe(1);
  });
});

describe('a command whose reader goes away', () => {
  it.each([
    ['export large - --format sql', 'PRAGMA foreign_keys=OFF;\n'],
    ['sql large "SELECT * FROM t"', ''],
    ['tenants --json', ''],
    ['tail busy --no-follow', expect.stringContaining('commit 1') as string],
  ])('ends quietly: %s', async (args, first) => {
    const lines = first === '' ? 0 : 1;
    const script = `node() { '${process.execPath}' '${CLI_MAIN}' ${args}; echo "$?" >&2; }; node | head -n ${lines}`;
    const command = await spawnProcess('sh', ['-c', script], { env: { ...withoutSettings(), ...cliEnv } });
    await command.exited;
    expect(command.stdout()).toEqual(first);
    expect(command.stderr()).toMatch(/^(141|0)\n$/);
  });

  it('has the exit code of a broken pipe', async () => {
    const script = `'${process.execPath}' '${CLI_MAIN}' export large - --format sql; echo "$?" >&2`;
    const command = await spawnProcess('sh', ['-c', `{ ${script}; } | head -n 1`], {
      env: { ...withoutSettings(), ...cliEnv },
    });
    await command.exited;
    expect(command.stderr()).toBe('141\n');
  });
});
