import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { tenantFile, withReservedNames } from '@onewriter/protocol';
import { openRedis } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { pauseTenant, resumeTenant } from '@onewriter/tenants';
import { type Stack, startStack, type TemporaryDirectory, temporaryDirectory } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { addBrokenObjects, BROKEN, ODD_NAME, SOUND } from './odd-file.ts';

/*
 * Files whose schema names what SQLite does not have here, files that are no databases, and folders that are no data
 * directories: each interface names what is wrong, and does all else.
 */

let stack: Stack;
let app: Onewriter;
let redis: Redis;
let folder: TemporaryDirectory;
const ODD = 'odd';

beforeAll(async () => {
  folder = await temporaryDirectory('odd');
  stack = await startStack();
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  redis = await openRedis(stack.redisUrl);
  await app.tenant(ODD).exec('CREATE TABLE first(n)');
  await pauseTenant(redis, 'default', ODD, 'test');
  const db = new Database(fileOf(ODD));
  addBrokenObjects(db);
  db.close();
  await resumeTenant(redis, 'default', ODD);
});

afterAll(async () => {
  redis?.disconnect();
  await app?.close();
  await stack?.stop();
  await folder?.remove();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant);
const inFolder = (name: string) => join(folder.path, name);

// biome-ignore lint/suspicious/noExplicitAny: tests look at what is there
async function get(path: string): Promise<any> {
  const response = await fetch(`${stack.gatewayUrl}${path}`, {
    headers: { authorization: `Bearer ${stack.token}` },
  });
  return { status: response.status, body: await response.json() };
}

interface Listed {
  readonly name: string;
  readonly error: string | null;
}

describe('a schema that names what SQLite does not have', () => {
  it('is listed under /v1, each object that cannot be used with its error', async () => {
    const { status, body } = await get(`/v1/tenants/${ODD}/schema`);
    expect(status).toBe(200);
    const objects: Listed[] = [
      ...body.tables,
      ...body.tables.flatMap(({ indexes }: { indexes: Listed[] }) => indexes),
      ...body.triggers,
    ];
    const errorOf = (name: string) => objects.find(object => object.name === name)?.error;
    for (const [name, error] of Object.entries(BROKEN)) expect(errorOf(name)).toMatch(error);
    for (const name of SOUND) expect([name, errorOf(name)]).toEqual([name, null]);
    const table = (name: string) => body.tables.find((candidate: Listed) => candidate.name === name);
    expect(table('v_good').columns).toHaveLength(1);
    expect(table('words').columns.map(({ name }: Listed) => name)).toContain('w');
    expect(table('v_gone').columns).toEqual([]);
    expect(table('generated').columns.map(({ name }: Listed) => name)).toEqual(['a', 'g', 's']);
    expect(table(ODD_NAME).columns[0].name).toBe('a "b"');
  });

  it('does not keep the gateway from checking all else', async () => {
    const { body } = await get(`/info/${ODD}?check=full`);
    expect(body).toMatchObject({ integrity: 'ok', journalMode: 'wal', synchronous: 2 });
    expect(body.unchecked.map(({ name }: Listed) => name).sort()).toEqual([
      'collated',
      'expressed',
      'generated',
      'indexed',
    ]);
  });

  it('is on the dashboard', async () => {
    const login = await fetch(`${stack.dashboardUrl}/login`, {
      method: 'POST',
      redirect: 'manual',
      headers: { origin: stack.dashboardUrl, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ token: stack.token }),
    });
    const cookie = (login.headers.get('set-cookie') ?? '').split(';')[0]!;
    const page = async (path: string, method = 'GET') =>
      (
        await fetch(`${stack.dashboardUrl}${path}`, {
          method,
          headers: { cookie, origin: stack.dashboardUrl },
        })
      ).text();
    const text = await page(`/tenants/${ODD}`);
    for (const name of Object.keys(BROKEN)) expect(text).toContain(name);
    for (const error of [/no such table: main\.gone/, /no such module: their_module/])
      expect(text).toMatch(error);
    expect(text).toContain('v_good');
    expect(text).toContain('odd &quot;name&quot;');
    expect(await page(`/tenants/${ODD}/check`, 'POST')).toMatch(
      /What could be checked is in order[\s\S]*collated: no such/,
    );
  });

  it('is in the shell of onewriter sql, with completion, and its sound tables can be written', async () => {
    const [tables, schema, rows] = await Promise.all([
      onewriter('sql', ODD, '.tables'),
      onewriter('sql', ODD, '.schema virtual'),
      onewriter('sql', ODD, 'SELECT v FROM v_good', '--json'),
    ]);
    for (const name of ['v_gone', 'virtual', 'good'])
      expect(tables.stdout).toMatch(new RegExp(`^${name}$`, 'm'));
    expect(schema.stdout).toContain('USING their_module');
    expect(rows.code).toBe(0);
    const refused = await onewriter('sql', ODD, 'SELECT * FROM virtual');
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/SQL_ERROR no such module: their_module/),
    });
    await app.tenant(ODD).prepare('INSERT INTO good(v) VALUES (?)').run('c');
  });

  it('is backed up and restored, and what could not be verified is named', async () => {
    const out = inFolder('backups');
    const saved = await onewriter('backup', ODD, '--out', out);
    expect(saved).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/verified, but for .*table collated: no such/),
    });
    const [{ path, manifest }] = parseJson(await onewriter('backup', '--list', ODD, '--out', out, '--json'));
    expect(manifest.unchecked.map(({ name }: Listed) => name).sort()).toEqual([
      'collated',
      'expressed',
      'generated',
      'indexed',
    ]);
    const restored = await onewriter('restore', path, 'odd-again');
    expect(restored).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/warning: table collated is restored and not verified .*their_collation/),
    });
    const plain = inFolder('plain.db');
    copyFileSync(path, plain);
    const report = parseJson(await onewriter('restore', plain, 'odd-plain', '--json'));
    expect(report).toMatchObject({ comparedWithManifest: false, writableError: null });
    expect(report.warnings).toContainEqual(expect.stringMatching(/table generated .*their_function/));
    expect(await app.tenant('odd-plain').prepare('SELECT count(*) AS n FROM good').get()).toEqual({ n: 3 });
  });
});

describe('onewriter restore', () => {
  it('restores a file in UTF-16, and says what may be missing of one in WAL mode', async () => {
    const wide = inFolder('wide.db');
    const db = new Database(wide);
    db.exec(
      "PRAGMA encoding = 'UTF-16le'; PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES ('a€ä')",
    );
    db.close();
    const restored = parseJson(await onewriter('restore', wide, 'wide', '--json'));
    expect(restored).toMatchObject({ writableError: null, rows: 1 });
    expect(restored.warnings).toEqual([expect.stringMatching(/in WAL mode, and no -wal is beside it/)]);
    await app.tenant('wide').prepare('INSERT INTO t VALUES (?)').run('ß');
    expect(await app.tenant('wide').prepare('SELECT a FROM t').all()).toEqual([{ a: 'a€ä' }, { a: 'ß' }]);
  });

  it('says what a file is that it cannot restore, and leaves nothing', async () => {
    const newer = inFolder('newer.db');
    const db = new Database(newer);
    withReservedNames(db, () =>
      db.exec(
        'CREATE TABLE sqlite_onewriter_state(id INTEGER PRIMARY KEY, format INTEGER); INSERT INTO sqlite_onewriter_state VALUES (1, 99)',
      ),
    );
    db.close();
    mkdirSync(inFolder('folder.db'));
    const files: readonly (readonly [name: string, content: Buffer | undefined, says: RegExp])[] = [
      ['empty.db', Buffer.alloc(0), /INVALID_ARGUMENT .*is empty \(0 bytes\)/],
      [
        'encrypted.db',
        Buffer.from(Array.from({ length: 8192 }, (_, at) => 129 + ((at * 7) % 100))),
        /INVALID_ARGUMENT .*or an encrypted one/,
      ],
      [
        'dump.db',
        Buffer.from('PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n'),
        /INVALID_ARGUMENT .*SQL text, a dump/,
      ],
      ['packed.db', gzipSync('SQLite format 3'), /INVALID_ARGUMENT .*gzip/],
      ['log.db', readFileSync(`${fileOf(ODD)}-wal`), /INVALID_ARGUMENT .*write-ahead log/],
      ['folder.db', undefined, /INVALID_ARGUMENT .*is a directory/],
      ['newer.db', undefined, /UNSUPPORTED_VERSION .*another version of Onewriter.*format 99/],
    ];
    await Promise.all(
      files.map(async ([name, content, says], index) => {
        if (content !== undefined) writeFileSync(inFolder(name), content);
        const result = await onewriter('restore', inFolder(name), `refused-${index}`);
        expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(says) });
        expect(result.stderr).not.toMatch(/corrupt/i);
        expect(existsSync(dirname(fileOf(`refused-${index}`)))).toBe(false);
      }),
    );
  });

  it('says the same of a tenant, in backup and check', async () => {
    await app.tenant('foreign').exec('CREATE TABLE t(n)');
    await pauseTenant(redis, 'default', 'foreign', 'test');
    for (const suffix of ['-wal', '-shm']) rmSync(`${fileOf('foreign')}${suffix}`, { force: true });
    writeFileSync(fileOf('foreign'), Buffer.alloc(8192, 'key'));
    for (const command of ['backup', 'check']) {
      const { stdout, stderr, code } = await onewriter(command, 'foreign');
      expect(code).toBe(command === 'check' ? 3 : 1);
      expect(stdout + stderr).toMatch(
        /no SQLite database, or an encrypted one.*\(SQLite: file is not a database\)/,
      );
    }
  });
});

describe('a folder that is no data directory', () => {
  const COMMANDS: readonly (readonly string[])[] = [
    ['tenants', 'list'],
    ['tenants', 'info', 'acme'],
    ['status'],
    ['check', '--all'],
    ['check', 'acme'],
    ['backup', '--all'],
    ['backup', '--list'],
    ['sql', 'acme', 'SELECT 1'],
    ['tail', 'acme', '--no-follow'],
  ];

  it('is an error of every command that needs one, with its path and what to do', async () => {
    mkdirSync(inFolder('nothing'));
    mkdirSync(inFolder('home/documents'), { recursive: true });
    const empty = new Database(inFolder('backup.db'));
    empty.exec('CREATE TABLE t(n)');
    empty.close();
    const wrong: readonly (readonly [path: string, says: RegExp])[] = [
      [inFolder('missing'), /^onewriter: MISCONFIGURED There is no folder .*missing\. .*--data-dir/],
      [inFolder('nothing'), /^onewriter: MISCONFIGURED The folder .*nothing is empty\. .*--data-dir/],
      [inFolder('home'), /^onewriter: MISCONFIGURED .*home is no data directory of Onewriter.*--data-dir/],
      [inFolder('backup.db'), /^onewriter: MISCONFIGURED .*backup\.db is no folder\. .*--data-dir/],
    ];
    // Each command once; that they judge alike is for the test beside the code.
    await Promise.all(
      COMMANDS.map(async (args, index) => {
        const [path, says] = wrong[index % wrong.length]!;
        const { code, stderr, stdout } = await runCli([...args, '--data-dir', path]);
        expect([args, code, stdout]).toEqual([args, 1, '']);
        expect(stderr).toMatch(says);
      }),
    );
    for (const name of ['missing', 'backup.db']) {
      const doctor = await runCli(['doctor', '--json', '--data-dir', inFolder(name)]);
      expect(doctor.code).toBe(3);
      expect(parseJson(doctor).diagnoses).toContainEqual(
        expect.objectContaining({
          check: 'data-directory',
          level: 'error',
          found: expect.stringContaining(inFolder(name)),
        }),
      );
    }
    expect(existsSync(inFolder('missing'))).toBe(false);
  });

  it('is not made right by a Redis that knows the tenants', async () => {
    const env = { ONEWRITER_REDIS_URL: stack.redisUrl };
    for (const args of [['tenants'], ['tenants', 'info', ODD], ['restore', inFolder('backup.db'), 'acme']]) {
      const result = await runCli([...args, '--data-dir', inFolder('missing')], { env });
      expect(result).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(/There is no folder/),
      });
    }
    // Commands that ask Redis alone need no folder with `--without-files`.
    const status = ['status', '--data-dir', inFolder('missing')];
    expect(await runCli(status, { env })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('MISCONFIGURED'),
    });
    expect((await runCli([...status, '--without-files'], { env })).code).toBe(0);
  });

  it('may be empty for a restore where no broker runs', async () => {
    mkdirSync(inFolder('fresh'));
    const at = ['--data-dir', inFolder('fresh')];
    expect((await runCli(['restore', inFolder('backup.db'), 'acme', '--offline', ...at])).code).toBe(0);
    const list = await runCli(['tenants', '--json', ...at]);
    expect(parseJson(list)).toEqual([expect.objectContaining({ tenant: 'acme' })]);
  });
});
