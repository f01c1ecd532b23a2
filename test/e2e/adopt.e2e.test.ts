import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isKnownDatabase, OnewriterError, tenantFile } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import {
  CLI_MAIN,
  spawnProcess,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { bytesBelow, contentOf, makeVaried, openElsewhere } from './adopt-trees.ts';
import { parseJson, runCli } from './cli-run.ts';

/*
 * Existing files become tenants', are written, and are given back: a plain file of SQLite that was written the same way holds the same.
 */

const TENANTS = 100;
const AT_ONCE = 20;
const PATTERN = 'tenants/{tenant}/kanban.db';
const WRITE = 'INSERT INTO notes(text, at) VALUES (?, ?)';

let folder: TemporaryDirectory;
/** The app's tree, and the same made once more, which no Onewriter sees. */
let tree: string;
let twins: string;
let dataDir: string;

beforeEach(async () => {
  folder = await temporaryDirectory('adopt');
  onTestFinished(() => folder.remove());
  tree = join(folder.path, 'app');
  twins = join(folder.path, 'twins');
  dataDir = join(folder.path, 'data');
  mkdirSync(dataDir);
});

const nameOf = (number: number) => (number % 9 === 0 ? `Team_${number}` : `team-${number}`);
const idOf = (number: number) => nameOf(number).toLowerCase().replace('_', '-');
const fileIn = (root: string, name: string) => join(root, 'tenants', name, 'kanban.db');

function makeTree(count: number): number[] {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  for (const number of numbers) {
    makeVaried(fileIn(tree, nameOf(number)), number);
    makeVaried(fileIn(twins, nameOf(number)), number);
  }
  return numbers;
}

it('adopts a tree, writes it, and gives it back as SQLite alone would have it', async () => {
  const numbers = makeTree(TENANTS);
  const before = bytesBelow(tree);
  const looked = await runCli(['adopt', tree, '--data-dir', dataDir, '--json']);
  const report = parseJson(looked);
  expect(report.files.filter(({ state }: { state: string }) => state === 'blocked')).toEqual([]);
  expect(looked.code, looked.stderr).toBe(0);
  expect(report).toMatchObject({ applied: false, pattern: PATTERN });
  expect(report.files.filter(({ state }: { state: string }) => state === 'ready')).toHaveLength(TENANTS);
  expect(bytesBelow(tree)).toEqual(before);
  expect(readdirSync(dataDir)).toEqual([]);

  const stack = await startStack({ dataDir });
  onTestFinished(async () => void (await stack.stop()));
  const applied = parseJson(await runCli(['adopt', tree, '--data-dir', dataDir, '--apply', '--json']));
  for (const { error, result, name, tenant } of applied.files) {
    expect([name, error, result?.moved]).toEqual([name, null, true]);
    expect(contentOf(result.file)).toEqual(contentOf(fileIn(twins, name)));
    expect(isKnownDatabase(dataDir, tenant)).toBe(true);
  }
  expect(bytesBelow(tree).size).toBe(0);

  const app = await connect({ redis: stack.redisUrl, dataDir });
  onTestFinished(() => app.close());
  for (let from = 0; from < numbers.length; from += AT_ONCE) {
    await Promise.all(
      numbers.slice(from, from + AT_ONCE).map(async number => {
        const tenant = app.tenant(idOf(number));
        await tenant.prepare(WRITE).run(`new ${number}`, number / 2);
        expect(
          await tenant.prepare('SELECT count(*) AS n FROM notes WHERE text = ?').get(`new ${number}`),
        ).toEqual({
          n: 1,
        });
      }),
    );
  }
  for (const number of numbers) {
    const twin = new Database(fileIn(twins, nameOf(number)));
    twin.prepare(WRITE).run(`new ${number}`, number / 2);
    twin.close();
  }

  const out = join(folder.path, 'out');
  const released = await runCli([
    'release',
    '--all',
    '--to',
    out,
    '--pattern',
    PATTERN,
    '--data-dir',
    dataDir,
    '--json',
  ]);
  expect(released.code, released.stderr).toBe(0);
  expect(parseJson(released)).toHaveLength(TENANTS);
  for (const number of numbers) {
    const path = fileIn(out, idOf(number));
    expect([number, contentOf(path)]).toEqual([number, contentOf(fileIn(twins, nameOf(number)))]);
    expect(readdirSync(dirname(path))).toEqual(['kanban.db']);
    expect([number, ownNamesIn(path)]).toEqual([number, []]);
    expect(journalModeOf(path)).toBe('delete');
  }
  // A client that was left behind makes no new, empty file.
  const late = app.tenant(idOf(1)).transaction([{ sql: WRITE, params: ['late', 1] }], { timeoutMs: 3_000 });
  await expect(late).rejects.toBeInstanceOf(OnewriterError);
  expect(existsSync(tenantFile(dataDir, idOf(1)))).toBe(false);
}, 240_000);

it('leaves files that are in their place there, and notices where one is lost before its first write', async () => {
  for (const number of [1, 2, 3]) makeVaried(join(dataDir, 'tenants', `team-${number}`, 'kanban.db'), number);
  const env = { ONEWRITER_DB_FILE: 'kanban.db' };
  const wrong = await runCli(['adopt', dataDir, '--data-dir', dataDir]);
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringMatching(/set ONEWRITER_DB_FILE/) });
  const paths = [...bytesBelow(dataDir).keys()];
  const run = (...args: string[]) => runCli([...args, '--data-dir', dataDir, '--json'], { env });
  const adopted = await run('adopt', dataDir, '--apply');
  expect(adopted.code, adopted.stderr).toBe(0);
  for (const { result } of parseJson(adopted).files) expect(result.moved).toBe(false);
  expect([...bytesBelow(join(dataDir, 'tenants')).keys()]).toEqual(paths);

  const stack = await startStack({ dataDir, env });
  const app = await connect({ redis: stack.redisUrl, dataDir, dbFile: 'kanban.db' });
  onTestFinished(() => app.close());
  onTestFinished(async () => void (await stack.stop()));
  renameSync(join(dataDir, 'tenants/team-3'), join(folder.path, 'lost'));
  await expect(app.tenant('team-3').prepare(WRITE).run('a', 1)).rejects.toMatchObject({
    code: 'TENANT_UNAVAILABLE',
    message: expect.stringMatching(/gone/),
  });
  expect(existsSync(join(dataDir, 'tenants/team-3'))).toBe(false);
  await app.tenant('team-1').prepare(WRITE).run('written', 1);
  expect(parseJson(await run('adopt', dataDir)).files).toMatchObject([
    { state: 'adopted' },
    { state: 'adopted' },
  ]);

  // In their place they are given back where nothing has them open.
  await app.close();
  const path = join(dataDir, 'tenants/team-1/kanban.db');
  const opener = await openElsewhere(path);
  const busy = await run('release', 'team-1');
  await opener.end();
  await stack.stop();
  expect([busy.code, parseJson(busy)[0].error?.code]).toEqual([1, 'DATABASE_BUSY']);
  const released = await run('release', 'team-1', 'team-2', '--offline', '--journal-mode', 'wal');
  expect(released.code, released.stderr).toBe(0);
  makeVaried(join(twins, 'team-1.db'), 1);
  const twin = new Database(join(twins, 'team-1.db'));
  twin.prepare(WRITE).run('written', 1);
  twin.close();
  expect(contentOf(path)).toEqual(contentOf(join(twins, 'team-1.db')));
  expect(journalModeOf(path)).toBe('wal');
  expect(isKnownDatabase(dataDir, 'team-1')).toBe(false);
}, 120_000);

it('continues where a killed adoption ended, and a killed release leaves tenants as they were, or done', async () => {
  const numbers = makeTree(40);
  const contents = new Map(numbers.map(number => [idOf(number), contentOf(fileIn(twins, nameOf(number)))]));
  const adopt = ['adopt', tree, '--pattern', PATTERN, '--data-dir', dataDir, '--apply', '--json'];
  const placed = () => readdirSync(join(dataDir, 'tenants')).length;
  const isBegun = () => existsSync(join(dataDir, 'tenants')) && placed() > 3;
  await killWhen(adopt, isBegun);
  expect(placed()).toBeLessThan(numbers.length);
  const rest = await runCli(adopt);
  expect(rest.code, rest.stderr).toBe(0);
  for (const [tenant, content] of contents) {
    expect(contentOf(tenantFile(dataDir, tenant))).toEqual(content);
    expect(isKnownDatabase(dataDir, tenant)).toBe(true);
  }
  expect(bytesBelow(tree).size).toBe(0);

  const out = join(folder.path, 'out');
  const release = ['release', '--all', '--to', out, '--offline', '--data-dir', dataDir, '--json'];
  const releasedFiles = () => (existsSync(out) ? readdirSync(out).filter(name => !name.startsWith('.')) : []);
  await killWhen(release, () => releasedFiles().length > 3);
  expect(releasedFiles().length).toBeLessThan(numbers.length);
  for (const name of releasedFiles())
    expect(contentOf(join(out, name))).toEqual(contents.get(name.replace(/\.db$/, '')));
  for (const tenant of contents.keys()) {
    const file = tenantFile(dataDir, tenant);
    if (existsSync(file)) expect(contentOf(file)).toEqual(contents.get(tenant));
    else expect(releasedFiles()).toContain(`${tenant}.db`);
  }
  const more = await runCli(release);
  expect(more.code, more.stderr).toBe(0);
  expect(readdirSync(out).sort()).toEqual([...contents.keys()].map(tenant => `${tenant}.db`).sort());
}, 120_000);

/** Kills a command with all its processes as soon as something is so. */
async function killWhen(args: readonly string[], isSo: () => boolean): Promise<void> {
  const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env: withoutSettings() });
  await waitFor(isSo, { timeoutMs: 30_000, intervalMs: 1, what: 'the middle of the command' });
  command.kill('SIGKILL');
  await command.exited;
  await waitFor(() => !isWorkedOn(), { timeoutMs: 10_000, what: 'the end of its processes' });
}

/** Whether a process works on the folder of the test. */
function isWorkedOn(): boolean {
  return readdirSync('/proc').some(pid => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder.path);
    } catch {
      return false; // ended meanwhile
    }
  });
}

/** Names and texts of the schema that are not the app's. */
function ownNamesIn(path: string): unknown[] {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    return db
      .prepare("SELECT name FROM sqlite_schema WHERE name || tbl_name || ifnull(sql, '') LIKE '%onewriter%'")
      .all();
  } finally {
    db.close();
  }
}

function journalModeOf(path: string): unknown {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    return db.pragma('journal_mode', { simple: true });
  } finally {
    db.close();
  }
}
