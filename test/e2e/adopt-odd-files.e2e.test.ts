import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import {
  CLI_MAIN,
  spawnProcess,
  type TemporaryDirectory,
  temporaryDirectory,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  bytesBelow,
  contentOf,
  leaveHotJournal,
  leaveLog,
  makeVaried,
  openElsewhere,
} from './adopt-trees.ts';
import { parseJson, runCli } from './cli-run.ts';
import { addBrokenObjects } from './odd-file.ts';

/* Strange files in a tree that is adopted: each is named with what to do, and what cannot be adopted stays as it was. */

let folder: TemporaryDirectory;
let tree: string;
let dataDir: string;

beforeEach(async () => {
  folder = await temporaryDirectory('adopt-odd');
  onTestFinished(() => folder.remove());
  tree = join(folder.path, 'app');
  dataDir = join(folder.path, 'data');
  mkdirSync(tree);
});

const fileOf = (name: string) => join(tree, `${name}.db`);
const adopt = (...args: string[]) => runCli(['adopt', tree, '--data-dir', dataDir, '--json', ...args]);

function make(name: string, change: string | ((db: Database.Database) => void) = ''): void {
  makeVaried(fileOf(name), 1);
  const db = new Database(fileOf(name));
  try {
    if (typeof change === 'string') db.exec(change);
    else change(db);
  } finally {
    db.close();
  }
}

interface Planned {
  readonly name: string;
  readonly tenant: string | null;
  readonly state: string;
  readonly path: string;
  readonly notes: readonly { readonly level: string; readonly check: string; readonly found: string }[];
  readonly error: { readonly code: string; readonly message: string } | null;
}

describe('what keeps a file from being adopted', () => {
  /** By name: how it is made, and what is said of it. */
  const BLOCKED: Readonly<Record<string, readonly [make: () => void, check: string, says: RegExp]>> = {
    text: [() => writeFileSync(fileOf('text'), 'CREATE TABLE t(a);'), 'readable', /SQL text, a dump/],
    encrypted: [
      () =>
        writeFileSync(
          fileOf('encrypted'),
          Buffer.from(Array.from({ length: 8192 }, (_, at) => 129 + ((at * 7) % 100))),
        ),
      'readable',
      /encrypted/,
    ],
    cut: [
      () => {
        make('cut', 'CREATE TABLE more(a); INSERT INTO more VALUES (zeroblob(50000))');
        truncateSync(fileOf('cut'), 4_096);
      },
      'readable',
      /cut off: 4096 of/,
    ],
    damaged: [
      () => {
        make('damaged');
        const file = openSync(fileOf('damaged'), 'r+');
        // The second page is the first of a table.
        writeSync(file, Buffer.alloc(1_024, 7), 0, 1_024, 1_024);
        closeSync(file);
      },
      'integrity',
      /damaged/,
    ],
    names: [() => make('names', 'CREATE TABLE _onewriter_notes(a)'), 'names', /_onewriter_notes/],
    trigger: [
      () => make('trigger', 'CREATE TRIGGER _onewriter_t AFTER INSERT ON notes BEGIN SELECT 1; END'),
      'names',
      /_onewriter_t/,
    ],
    ours: [
      () =>
        make(
          'ours',
          'CREATE TABLE _onewriter_state(id INTEGER PRIMARY KEY, format); INSERT INTO _onewriter_state VALUES (1, 2)',
        ),
      'names',
      /written by Onewriter/,
    ],
    link: [
      () => {
        makeVaried(join(folder.path, 'elsewhere.db'), 1);
        symlinkSync(join(folder.path, 'elsewhere.db'), fileOf('link'));
      },
      'link',
      /symbolic link/,
    ],
    linked: [
      () => {
        make('linked');
        linkSync(fileOf('linked'), join(folder.path, 'second-name'));
      },
      'links',
      /hard link/,
    ],
    Twin: [() => make('Twin'), 'id', /Twin and twin would both be tenant twin/],
    日本: [() => make('日本'), 'id', /leaves nothing that can be/],
    taken: [
      () => {
        make('taken');
        makeVaried(tenantFile(dataDir, 'taken'), 2);
      },
      'taken',
      /has another file/,
    ],
  };

  it('is said for each; it stays as it was, and the others are adopted', async () => {
    for (const [create] of Object.values(BLOCKED)) create();
    make('twin');
    const blocked = new Set(Object.keys(BLOCKED).map(fileOf));
    const before = bytesBelow(tree);
    const looked = await adopt();
    expect(looked.code).toBe(3);
    const files: readonly Planned[] = parseJson(looked).files;
    for (const [name, [, check, says]] of Object.entries(BLOCKED)) {
      const file = files.find(candidate => candidate.path === fileOf(name))!;
      expect([name, file.state]).toEqual([name, 'blocked']);
      expect(file.notes).toContainEqual(
        expect.objectContaining({ level: 'error', check, found: expect.stringMatching(says) }),
      );
    }
    expect(bytesBelow(tree)).toEqual(before);
    const applied = await adopt('--apply');
    expect(applied.code).toBe(1);
    expect([...bytesBelow(tree)]).toEqual([...before].filter(([path]) => blocked.has(path)));
    expect(existsSync(tenantFile(dataDir, 'twin'))).toBe(true);
  });

  it('is a name, until a person gives another', async () => {
    make('Twin');
    make('日本');
    make('twin');
    writeFileSync(join(folder.path, 'names.json'), JSON.stringify({ Twin: 'twin-2', 日本: 'nihon' }));
    const applied = await adopt('--apply', '--names', join(folder.path, 'names.json'));
    expect(applied.code, applied.stderr).toBe(0);
    for (const tenant of ['twin', 'twin-2', 'nihon'])
      expect(existsSync(tenantFile(dataDir, tenant))).toBe(true);
    writeFileSync(join(folder.path, 'names.json'), '{"a": "Not An Id"}');
    expect((await adopt('--names', join(folder.path, 'names.json'))).stderr).toMatch(/INVALID_TENANT/);
  });

  it('is a process that has it open, also where only its lock shows', async () => {
    make('busy', db => void db.pragma('journal_mode = WAL'));
    make('free');
    const opener = await openElsewhere(fileOf('busy'));
    onTestFinished(() => opener.end());
    const files: readonly Planned[] = parseJson(await adopt()).files;
    expect(files.find(({ name }) => name === 'busy')!.notes).toContainEqual(
      expect.objectContaining({ check: 'open', found: expect.stringContaining(`process ${opener.pid} (`) }),
    );
    const applied = await adopt('--apply');
    expect(applied.code).toBe(1);
    expect(existsSync(fileOf('busy'))).toBe(true);
    expect(existsSync(tenantFile(dataDir, 'free'))).toBe(true);
    await opener.end();
    expect((await adopt('--pattern', '{tenant}.db', '--apply')).code).toBe(0);
    expect(contentOf(tenantFile(dataDir, 'busy')).size).toBeGreaterThan(1);
  });

  it('is a right that this user lacks', async () => {
    make('private');
    make('open');
    const isRoot = process.getuid?.() === 0;
    chmodSync(fileOf('private'), isRoot ? 0o600 : 0);
    if (isRoot) for (const path of [folder.path, tree, fileOf('open')]) chownSync(path, 65_534, 65_534);
    const before = isRoot ? bytesBelow(tree) : undefined;
    // Root may read everything.
    const user = isRoot ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : ['env'];
    const command = [process.execPath, CLI_MAIN, 'adopt', tree, '--data-dir', dataDir, '--json', '--apply'];
    const run = await spawnProcess(user[0]!, [...user.slice(1), ...command], { env: withoutSettings() });
    const { code } = await run.exited;
    expect(code, run.logs()).toBe(1);
    const files: readonly Planned[] = JSON.parse(run.stdout()).files;
    expect(files.find(({ name }) => name === 'private')!.notes).toContainEqual(
      expect.objectContaining({
        check: 'rights',
        found: expect.stringMatching(/may not read and write .*private\.db/),
      }),
    );
    expect(existsSync(tenantFile(dataDir, 'open'))).toBe(true);
    if (before !== undefined)
      expect(bytesBelow(tree).get(fileOf('private'))).toBe(before.get(fileOf('private')));
  });
});

describe('what is only said', () => {
  const SAID: Readonly<Record<string, readonly [make: () => void, check: string, says: RegExp]>> = {
    empty: [() => writeFileSync(fileOf('empty'), ''), 'empty', /0 bytes/],
    log: [
      () => {
        make('log');
        leaveLog(fileOf('log'));
      },
      'journal',
      /-wal\) is left/,
    ],
    hot: [
      () => {
        make('hot');
        leaveHotJournal(fileOf('hot'));
      },
      'journal',
      /hot journal/,
    ],
    broken: [() => make('broken', addBrokenObjects), 'schema', /their_collation/],
    keys: [
      () =>
        make(
          'keys',
          'PRAGMA foreign_keys = OFF; CREATE TABLE kids(n REFERENCES notes); INSERT INTO kids VALUES (99)',
        ),
      'foreign-keys',
      /1 row refers/,
    ],
  };

  it('keeps no file back, and what was committed is all there', async () => {
    for (const [create] of Object.values(SAID)) create();
    for (const number of [1, 2, 3, 4, 5]) makeVaried(fileOf(`varied-${number}`), number);
    const before = bytesBelow(tree);
    const looked = await adopt();
    expect(looked.code).toBe(0);
    const files: readonly Planned[] = parseJson(looked).files;
    for (const [name, [, check, says]] of Object.entries(SAID)) {
      const file = files.find(candidate => candidate.name === name)!;
      expect([name, file.state]).toEqual([name, 'ready']);
      expect(file.notes).toContainEqual(
        expect.objectContaining({ check, found: expect.stringMatching(says) }),
      );
    }
    expect(bytesBelow(tree)).toEqual(before);
    const applied = await adopt('--apply');
    expect(applied.code, applied.stderr).toBe(0);
    expect(bytesBelow(tree).size).toBe(0);
    const texts = (tenant: string) => {
      const db = new Database(tenantFile(dataDir, tenant), { readonly: true, fileMustExist: true });
      onTestFinished(() => void db.close());
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
      return db.prepare('SELECT text FROM notes').pluck().all();
    };
    expect(texts('log')).toContain('in the log');
    expect(texts('hot')).toHaveLength(3);
    for (const number of [1, 2, 3, 4, 5]) {
      makeVaried(join(folder.path, 'twins', `${number}.db`), number);
      expect(contentOf(tenantFile(dataDir, `varied-${number}`))).toEqual(
        contentOf(join(folder.path, 'twins', `${number}.db`)),
      );
    }
  });
});

describe('what cannot be understood', () => {
  it('is asked for, with what could be meant', async () => {
    for (const name of ['acme', 'beta'])
      for (const file of ['main', 'cache']) makeVaried(join(tree, name, `${file}.db`), 1);
    const unclear = await adopt();
    expect(unclear).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/--pattern '\{tenant\}\/main\.db' \(2\)/),
    });
    const clear = await adopt('--pattern', '{tenant}/main.db');
    expect(clear.code).toBe(0);
    expect(parseJson(clear).files.map(({ tenant }: Planned) => tenant)).toEqual(['acme', 'beta']);
  });

  it.each([
    [['--pattern', 'main.db'], 1, /A pattern is a path/],
    [['--pattern', '{tenant}.none'], 1, /There is no file below/],
    [[], 1, /called like a database/],
    [['--names', '/nowhere/names.json'], 2, /--names/],
    [['--jobs', 'many'], 2, /--jobs/],
  ])('is refused: %j', async (args, code, says) => {
    expect(await adopt(...args)).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(says) });
    expect(existsSync(dataDir)).toBe(false);
  });

  it('is a folder in the data directory', async () => {
    makeVaried(tenantFile(dataDir, 'acme'), 1);
    tree = join(dataDir, 'tenants', 'acme');
    expect(await adopt('--apply')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/lies in the data directory/),
    });
    expect(existsSync(tenantFile(dataDir, 'acme'))).toBe(true);
  });

  it('is refused by release, too', async () => {
    makeVaried(tenantFile(dataDir, 'acme'), 1);
    const release = (...args: string[]) => runCli(['release', '--offline', '--data-dir', dataDir, ...args]);
    expect(await release()).toMatchObject({ code: 2, stderr: expect.stringMatching(/--all/) });
    expect(await release('acme', '--journal-mode', 'off')).toMatchObject({ code: 2 });
    expect(await release('acme', '--pattern', 'x/{tenant}')).toMatchObject({ code: 2 });
    expect(await release('acme', '--to', tree, '--pattern', '*/{tenant}')).toMatchObject({ code: 1 });
    expect(await release('absent')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/TENANT_NOT_FOUND/),
    });
    writeFileSync(fileOf('acme'), 'something else');
    const taken = await release('acme', '--to', tree);
    expect(taken).toMatchObject({ code: 1 });
    expect(existsSync(tenantFile(dataDir, 'acme'))).toBe(true);
  });
});
