import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { forgetKnownDatabase, trashDir } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { mountTmpfs } from '../../test-support/mount-tmpfs.ts';
import {
  applied,
  queuedJob,
  refused,
  script,
  TemporaryLane,
  temporaryDataDir,
  writes,
} from '../../test-support/temporary-lane.ts';
import { CommitCounter } from '../thread/commit-counter.ts';
import { FILE_CHANGED, releaseWithheld } from '../thread/withheld-tenant.ts';
import { isBeingCheckpointed } from './checkpoint-lock.ts';
import { TenantDatabase } from './tenant-database.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE INDEX t_a ON t(a)');
const INSERT = 'INSERT INTO t(a) VALUES (randomblob(900))';
/** Pages enough that a log of this file, applied to another, damages it. */
const ROWS = 60;
const fill = () => queuedJob([INSERT], Array(ROWS).fill({ s: 0 }));
/** More than a thousand pages: a checkpoint is due, and made in the next turn. */
const LARGE_ROWS = 3_000;
const fillLarge = () =>
  writes(`INSERT INTO t(a) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${LARGE_ROWS})
    SELECT randomblob(900) FROM n`);

const SQLITE = createRequire(import.meta.url).resolve('better-sqlite3');

/** Runs SQL as another program does, and closes. */
function inAnotherProcess(file: string, sql: string): void {
  const program = `new (require(${JSON.stringify(SQLITE)}))(${JSON.stringify(file)}).unsafeMode().exec(${JSON.stringify(sql)}).close()`;
  execFileSync(process.execPath, ['--eval', program], { stdio: 'pipe', timeout: 30_000 });
}

/** SQLite refuses DROP TABLE of such a table: it gets another name first. */
const DROP_LEDGER = `
  PRAGMA writable_schema = ON;
  UPDATE sqlite_schema SET name = 'dropped', tbl_name = 'dropped', sql = replace(sql, name, 'dropped')
    WHERE name = 'sqlite_onewriter_ledger';
  PRAGMA writable_schema = RESET;
  DROP TABLE dropped`;

/** A whole database with other tables, as a backup of another day would be. */
function anotherFile(rows = 200): string {
  const path = join(temporaryDataDir(), 'another.db');
  const db = new Database(path);
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE other(id INTEGER PRIMARY KEY, b UNIQUE)');
  const insert = db.prepare('INSERT INTO other(b) VALUES (randomblob(500))');
  for (let row = 0; row < rows; row++) insert.run();
  db.close();
  return path;
}

/** A tenant with acknowledged rows in the file, and more in its log. */
function tenantInUse(): TemporaryLane {
  const lane = new TemporaryLane();
  lane.apply(TABLE, fill());
  lane.lane.run({ kind: 'close', tenant: 'acme' });
  lane.apply(fill());
  lane.apply(fill());
  expect(statSync(`${lane.file}-wal`).size).toBeGreaterThan(100_000);
  return lane;
}

/** The same, when the writer has found where all connections count their commits. */
async function tenantWithCounter(): Promise<TemporaryLane> {
  const find = vi.spyOn(CommitCounter, 'find');
  onTestFinished(() => find.mockRestore());
  const lane = tenantInUse();
  await vi.waitFor(() => expect(find.mock.results.at(-1)?.value).toBeDefined(), { timeout: 5_000 });
  return lane;
}

function look<Row>(path: string, sql: string): Row[] {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare(sql).pluck().all() as Row[];
  } finally {
    db.close();
  }
}

/** The tenant is refused, and stays so; nothing is written to the file there. @returns the finding */
function expectWithheld(lane: TemporaryLane): string {
  const { error, uncertain, begun } = refused(lane.run([writes(INSERT)]));
  expect(error).toMatchObject({ code: 'TENANT_UNAVAILABLE', details: { reason: FILE_CHANGED } });
  // Where it could be begun the ledger was asked.
  expect(uncertain).toBe(!begun);
  expect(refused(lane.run([writes(INSERT)])).error.message).toBe(error.message);
  // So does a new leader, whose threads know nothing of it.
  const next = new TemporaryLane(lane.options);
  expect(refused(next.run([writes(INSERT)])).error.message).toBe(error.message);
  return error.message;
}

/** The copy that a finding names is whole and has every acknowledged row. */
function expectRescued(finding: string, rows = 3 * ROWS): void {
  const [, copy] = / saved as (\S+)\. /.exec(finding) ?? [];
  expect(finding).toContain(`onewriter restore ${copy} acme --replace`);
  expect(existsSync(`${copy}-wal`)).toBe(false);
  expect(look(copy!, 'PRAGMA integrity_check')).toEqual(['ok']);
  expect(look(copy!, 'SELECT count(*) FROM t')).toEqual([rows]);
}

/** A person checks it, and the tenant continues with the file there. */
function expectWrittenOn(lane: TemporaryLane, table: string, rows: number): void {
  releaseWithheld(lane.options.dataDir, 'acme', 'tenant.db');
  const insert = table === 't' ? INSERT : 'INSERT INTO other(b) VALUES (randomblob(500))';
  expect(applied(lane.run([writes(insert)])).jobs).toMatchObject([{ failures: 0 }]);
  lane.lane.run({ kind: 'close', tenant: null });
  expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
  expect(look(lane.file, `SELECT count(*) FROM ${table}`)).toEqual([rows + 1]);
}

describe('a file that is put in the place of an open one', () => {
  it.each(['a write', 'the idle close', 'a checkpoint'])(
    'by mv never gets the old log: %s finds it',
    async finder => {
      const lane = tenantInUse();
      const { file } = lane;
      if (finder === 'a checkpoint') lane.apply(fillLarge());
      renameSync(anotherFile(), file);
      if (finder === 'a checkpoint') await turn();
      if (finder === 'the idle close') {
        expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).toMatchObject({
          changed: [{ tenant: 'acme', error: { details: { reason: FILE_CHANGED } } }],
        });
      }
      const finding = expectWithheld(lane);
      expect(finding).toMatch(/^Another file was put in the place of the one in use\. /);
      expectRescued(finding, finder === 'a checkpoint' ? 3 * ROWS + LARGE_ROWS : 3 * ROWS);
      expect(look(file, 'PRAGMA integrity_check')).toEqual(['ok']);
      expectWrittenOn(lane, 'other', 200);
    },
  );

  it('with its own log is left as it is, and so is the pair that was moved away', () => {
    const lane = tenantInUse();
    const folder = dirname(lane.file);
    renameSync(folder, `${folder}.old`);
    mkdirSync(folder);
    for (const suffix of ['', '-wal']) {
      copyFileSync(join(`${folder}.old`, `tenant.db${suffix}`), `${lane.file}${suffix}`);
    }
    const finding = expectWithheld(lane);
    expect(finding).toContain(`It is whole at ${folder}.old/tenant.db`);
    expect(readdirSync(`${folder}.old`).sort()).toEqual(['tenant.db', 'tenant.db-shm', 'tenant.db-wal']);
    expect(look(join(`${folder}.old`, 'tenant.db'), 'SELECT count(*) FROM t')).toEqual([3 * ROWS]);
    expectWrittenOn(lane, 't', 3 * ROWS);
  });

  it.each(['a flush', 'a checkpoint', 'a commit'])(
    'gets no empty file in its place where its folder was moved away: %s finds it',
    async finder => {
      const lane = tenantInUse();
      const folder = dirname(lane.file);
      const move = () => renameSync(folder, `${folder}.old`);
      if (finder === 'a commit') {
        const { commit } = TenantDatabase.prototype;
        const spy = vi.spyOn(TenantDatabase.prototype, 'commit');
        onTestFinished(() => spy.mockRestore());
        spy.mockImplementationOnce(function (this: TenantDatabase, ...args) {
          commit.apply(this, args);
          move();
        });
      }
      lane.apply(fillLarge());
      if (finder !== 'a commit') move();
      if (finder === 'a flush') lane.lane.run({ kind: 'distrust', tenant: 'acme' }, () => {});
      else await turn();
      expect(expectWithheld(lane)).toContain(`It is whole at ${folder}.old/tenant.db`);
      expect(existsSync(lane.file)).toBe(false);
      renameSync(`${folder}.old`, folder);
      lane.apply(writes(INSERT));
      expect(lane.column('SELECT count(*) FROM t')).toEqual([3 * ROWS + LARGE_ROWS + 1]);
    },
  );

  it('by another broker, which restored it meanwhile, keeps nothing closed when this process ends', () => {
    const lane = tenantInUse();
    for (const suffix of ['', '-wal', '-shm'])
      renameSync(lane.file + suffix, `${lane.file}.replaced${suffix}`);
    renameSync(anotherFile(), lane.file);
    expect(lane.lane.run({ kind: 'close', tenant: null })).not.toHaveProperty('changed');
    expect(look(`${lane.file}.replaced`, 'SELECT count(*) FROM t')).toEqual([3 * ROWS]);
    expectWrittenOn(lane, 'other', 200);
  });

  it('is not made where it was moved away and this process ends', () => {
    const lane = tenantInUse();
    const folder = dirname(lane.file);
    renameSync(folder, `${folder}.old`);
    expect(lane.lane.run({ kind: 'close', tenant: null })).toMatchObject({ changed: [{ tenant: 'acme' }] });
    expect(refused(new TemporaryLane(lane.options).run([writes(INSERT)])).error.message).toContain(
      `It is whole at ${folder}.old/tenant.db`,
    );
    expect(existsSync(folder)).toBe(false);
  });

  it('may be made where another broker deleted the tenant meanwhile and this process ends', () => {
    const lane = tenantInUse();
    const trash = trashDir(lane.options.dataDir);
    mkdirSync(trash);
    forgetKnownDatabase(lane.options.dataDir, 'acme');
    renameSync(dirname(lane.file), join(trash, 'acme.1'));
    expect(lane.lane.run({ kind: 'close', tenant: null })).not.toHaveProperty('changed');
    new TemporaryLane(lane.options).apply(TABLE);
  });

  it.each(['a write', 'the idle close'])('by cp over it never gets the old log: %s finds it', finder => {
    const lane = tenantInUse();
    const { ino } = statSync(lane.file);
    writeFileSync(lane.file, readFileSync(anotherFile()));
    expect(statSync(lane.file).ino).toBe(ino);
    if (finder === 'the idle close') lane.lane.run({ kind: 'close', tenant: 'acme' });
    const finding = expectWithheld(lane);
    expect(finding).toMatch(/^The file was overwritten /);
    const [, log] = / saved as (\S+);/.exec(finding) ?? [];
    expect(statSync(log!).size).toBeGreaterThan(100_000);
    expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
    expectWrittenOn(lane, 'other', 200);
  });

  it('by cp over it is noticed after the log began again, too', () => {
    const lane = tenantInUse();
    const other = new Database(lane.file);
    onTestFinished(() => void other.close());
    other.pragma('wal_checkpoint(PASSIVE)');
    lane.apply(fill());
    lane.apply(fill());
    writeFileSync(lane.file, readFileSync(anotherFile()));
    expect(expectWithheld(lane)).toMatch(/^The file was overwritten /);
  });

  it('that was only touched is suspected, and the log can be put back as the finding says', () => {
    const lane = tenantInUse();
    utimesSync(lane.file, new Date(), new Date(0));
    const [, log, place] = / saved as (\S+);.*move the log to (\S+),/.exec(expectWithheld(lane)) ?? [];
    renameSync(log!, place!);
    expectWrittenOn(lane, 't', 3 * ROWS);
  });

  it('after the old one was moved away alone never gets the log that was left', () => {
    const lane = tenantInUse();
    renameSync(lane.file, `${lane.file}.moved`);
    expectRescued(expectWithheld(lane));
    renameSync(anotherFile(), lane.file);
    expectWithheld(lane);
    expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
    expectWrittenOn(lane, 'other', 200);
  });

  it('after the old one was moved away and the tenant released never gets the log that was left', () => {
    const lane = tenantInUse();
    renameSync(lane.file, `${lane.file}.moved`);
    expectWithheld(lane);
    renameSync(anotherFile(), lane.file);
    expectWrittenOn(lane, 'other', 200);
  });

  it('is saved first: where that fails nothing is closed, and it is tried again', () => {
    const lane = tenantInUse();
    vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_000 });
    onTestFinished(() => void vi.useRealTimers());
    rmSync(lane.file);
    writeFileSync(`${lane.file}.rescued-2023-11-14T221320.000Z`, 'in the way');
    const { error } = refused(lane.run([writes(INSERT)]));
    expect(error.message).toMatch(/could not be saved \(EEXIST.*do not end the broker/);
    vi.setSystemTime(1_700_000_000_001);
    expectRescued(expectWithheld(lane));
  });
});

describe('a log that is deleted or replaced under an open file', () => {
  it.each(['a write', 'the idle close'])('is saved where it was deleted: %s finds it', finder => {
    const lane = tenantInUse();
    rmSync(`${lane.file}-wal`);
    if (finder === 'the idle close') lane.lane.run({ kind: 'close', tenant: 'acme' });
    const finding = expectWithheld(lane);
    expect(finding).toMatch(/^The log of the file \(-wal\) was deleted /);
    expectRescued(finding);
    expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
    // The file is as the last checkpoint left it.
    expectWrittenOn(lane, 't', ROWS);
  });

  it('is saved with the folder that was deleted', () => {
    const lane = tenantInUse();
    rmSync(dirname(lane.file), { recursive: true });
    expectRescued(expectWithheld(lane));
  });

  it('is not mixed with a log of another file, which is kept', () => {
    const lane = tenantInUse();
    const another = new TemporaryLane();
    another.apply(script('CREATE TABLE u(a, b, c)'), writes('INSERT INTO u VALUES (1, 2, zeroblob(90000))'));
    copyFileSync(`${another.file}-wal`, `${lane.file}-wal.new`);
    const { size } = statSync(`${lane.file}-wal.new`);
    renameSync(`${lane.file}-wal.new`, `${lane.file}-wal`);
    const finding = expectWithheld(lane);
    expect(finding).toMatch(/^Another log \(-wal\) was put /);
    expectRescued(finding);
    const [kept] = readdirSync(dirname(lane.file)).filter(name => name.endsWith('.other-wal'));
    expect(statSync(join(dirname(lane.file), kept!)).size).toBe(size);
    expect(kept).toMatch(new RegExp(`^${basename(lane.file)}\\.rescued-`));
    expectWrittenOn(lane, 't', ROWS);
  });
});

/** Ways to change a log in use, in place. */
const IN_PLACE: Readonly<Record<string, (log: string, older: string) => void>> = {
  'cut to nothing': log => truncateSync(log, 0),
  'cut to a part': log => truncateSync(log, statSync(log).size / 2),
  'overwritten by something else': log => writeFileSync(log, randomBytes(50_000)),
  'overwritten by a log of another file': log => writeFileSync(log, logOfAnother()),
  'overwritten by an older copy': (log, older) => writeFileSync(log, readFileSync(older)),
  'damaged in its header': log => overwriteAt(log, 17),
  'damaged in its middle': log => overwriteAt(log, Math.floor(statSync(log).size / 2)),
};

function logOfAnother(): Buffer {
  const another = new TemporaryLane();
  another.apply(TABLE, fill(), fill(), fill(), fill());
  return readFileSync(`${another.file}-wal`);
}

function overwriteAt(path: string, offset: number): void {
  const { mtimeMs } = statSync(path);
  const bytes = randomBytes(16);
  const file = openSync(path, 'r+');
  // The clock of the file system has ticks of some milliseconds.
  do writeSync(file, bytes, 0, bytes.length, offset);
  while (statSync(path).mtimeMs === mtimeMs);
  closeSync(file);
}

/** Does something when the next batch has looked at the files, and is about to begin. */
function atNextBegin(run: () => void): void {
  const begin = vi.spyOn(TenantDatabase.prototype, 'begin').mockImplementationOnce(function (
    this: TenantDatabase,
  ) {
    run();
    begin.mockRestore();
    this.begin();
  });
}

describe('a log that is written in place', () => {
  const CUT = /^The log of the file \(-wal\) was cut or overwritten /;

  /** A tenant with a copy of its log as it was before the last batch. */
  function tenantWithOlderLog(): { lane: TemporaryLane; older: string } {
    const lane = tenantInUse();
    const older = join(temporaryDataDir(), 'older-wal');
    copyFileSync(`${lane.file}-wal`, older);
    lane.apply(fill());
    return { lane, older };
  }

  it.each(Object.keys(IN_PLACE))('%s, is found by a write, and what the connection has is saved', what => {
    const { lane, older } = tenantWithOlderLog();
    IN_PLACE[what]!(`${lane.file}-wal`, older);
    const finding = expectWithheld(lane);
    expect(finding).toMatch(CUT);
    expectRescued(finding, 4 * ROWS);
    expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
    // The file is as the last checkpoint left it.
    expectWrittenOn(lane, 't', ROWS);
  });

  it.each(Object.keys(IN_PLACE))('%s, is found by the idle close', what => {
    const { lane, older } = tenantWithOlderLog();
    IN_PLACE[what]!(`${lane.file}-wal`, older);
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).toMatchObject({ changed: [{ tenant: 'acme' }] });
    expectRescued(expectWithheld(lane), 4 * ROWS);
    expectWrittenOn(lane, 't', ROWS);
  });

  it.each(Object.keys(IN_PLACE).filter(what => !what.startsWith('damaged')))(
    '%s, is found before a commit that was under way is acknowledged',
    what => {
      const { lane, older } = tenantWithOlderLog();
      atNextBegin(() => IN_PLACE[what]!(`${lane.file}-wal`, older));
      const { error, uncertain, begun } = refused(lane.run([writes(INSERT)]));
      expect({ uncertain, begun }).toEqual({ uncertain: true, begun: true });
      expect(error.message).toMatch(CUT);
      expectRescued(error.message, 4 * ROWS + 1);
      expectWithheld(lane);
      expectWrittenOn(lane, 't', ROWS);
    },
  );

  it('is saved as far as the log is whole, where the connection does not have the rest; the finding says so', () => {
    const { lane } = tenantWithOlderLog();
    const log = `${lane.file}-wal`;
    const seq = lane.commitSeq;
    lane.apply(fillLarge());
    // A large batch leaves nothing in the cache.
    vi.spyOn(Database.prototype, 'serialize').mockImplementationOnce(function (this: Database.Database) {
      this.pragma('shrink_memory');
      return this.serialize();
    });
    onTestFinished(() => void vi.restoreAllMocks());
    overwriteAt(log, statSync(log).size - 100_000);
    const finding = expectWithheld(lane);
    expect(finding).toContain(`Commits ${seq + 1} to ${seq + 1} were only in the log and are lost; `);
    const [, copy, found] = /it was saved as (\S+)\. .* as it was found is (\S+)\. /.exec(finding) ?? [];
    expect(look(copy!, 'SELECT count(*) FROM t')).toEqual([4 * ROWS]);
    expect(look(copy!, 'PRAGMA integrity_check')).toEqual(['ok']);
    expect(statSync(found!).size).toBeGreaterThan(1_000_000);
    expect(finding).toContain(`onewriter restore ${copy} acme --replace`);
  });

  it('overwritten by a longer log from before it began again, is found by a write', async () => {
    const lane = tenantInUse();
    lane.apply(fillLarge());
    await turn();
    const older = readFileSync(`${lane.file}-wal`);
    lane.apply(fill());
    writeFileSync(`${lane.file}-wal`, older);
    const finding = expectWithheld(lane);
    expect(finding).toMatch(CUT);
    expectRescued(finding, 4 * ROWS + LARGE_ROWS);
    expectWrittenOn(lane, 't', 3 * ROWS + LARGE_ROWS);
  });

  it('does not count as saved where a page is missing that no check of the database finds', () => {
    const lane = tenantInUse();
    lane.apply(writes("INSERT INTO t(a) VALUES (printf('%.*c', 10000, 'x'))"));
    const serialize = vi.spyOn(Database.prototype, 'serialize').mockImplementationOnce(function (
      this: Database.Database,
    ) {
      const image = this.serialize();
      // The last page of the text: SQLite leaves a page empty that it cannot read.
      const page = image.indexOf('\0\0\0\0xxxxxxxx');
      expect(page % 4096).toBe(0);
      return image.fill(0, page, page + 4096);
    });
    onTestFinished(() => serialize.mockRestore());
    truncateSync(`${lane.file}-wal`, 0);
    expect(expectWithheld(lane)).toContain(' were only in the log and are lost; ');
  });

  it('is not suspected where only its time changes', () => {
    const lane = tenantInUse();
    utimesSync(`${lane.file}-wal`, 1, 1);
    lane.apply(writes(INSERT));
    expect(lane.column('SELECT count(*) FROM t')).toEqual([3 * ROWS + 1]);
  });

  it('is not suspected where another process adds to it and undoes that', () => {
    const lane = tenantInUse();
    inAnotherProcess(
      lane.file,
      `PRAGMA cache_size = 1; BEGIN; INSERT INTO t(a) SELECT randomblob(9000) FROM t; ROLLBACK`,
    );
    lane.apply(writes(INSERT), fill());
    expect(lane.column('SELECT count(*) FROM t')).toEqual([4 * ROWS + 1]);
  });
});

/** Another program that has the file open, and follows requests. */
async function openElsewhere(file: string): Promise<(sql: string) => Promise<unknown[]>> {
  const program = `
    const db = new (require(${JSON.stringify(SQLITE)}))(${JSON.stringify(file)}, { timeout: 5000 });
    process.on('message', sql => {
      if (sql === 'close') return void process.send([db.close().open]);
      try {
        const statement = db.prepare(sql);
        process.send(statement.reader ? statement.raw().all().flat() : [statement.run().changes]);
      } catch (error) {
        process.send([error.code]);
      }
    });
    process.send([]);`;
  const child = spawn(process.execPath, ['--eval', program], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const answer = async () => (await once(child, 'message', { signal: AbortSignal.timeout(20_000) }))[0];
  await answer();
  return async sql => {
    child.send(sql);
    return answer();
  };
}

describe('an index of the log (-shm) that is deleted or replaced', () => {
  const COUNT = 'SELECT count(*) FROM t';
  const HARM: Readonly<Record<string, (index: string) => void>> = {
    deleted: index => rmSync(index),
    'replaced by a copy': index => {
      copyFileSync(index, `${index}.new`);
      renameSync(`${index}.new`, index);
    },
    'replaced by junk': index => {
      writeFileSync(`${index}.new`, randomBytes(32_768));
      renameSync(`${index}.new`, index);
    },
  };

  it.each(Object.keys(HARM))('%s, is made again by the next write', what => {
    const lane = tenantInUse();
    HARM[what]!(`${lane.file}-shm`);
    lane.apply(writes(INSERT));
    for (let round = 0; round < 3; round++) lane.apply(writes(INSERT));
    expect(lane.column(COUNT)).toEqual([3 * ROWS + 4]);
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
    lane.apply(writes(INSERT));
    expect(lane.column(COUNT)).toEqual([3 * ROWS + 5]);
    expect(lane.column('PRAGMA integrity_check')).toEqual(['ok']);
  });

  it.each(Object.keys(HARM))('%s, is made again by the idle close', what => {
    const lane = tenantInUse();
    HARM[what]!(`${lane.file}-shm`);
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
    lane.apply(writes(INSERT));
    expect(lane.column(COUNT)).toEqual([3 * ROWS + 1]);
  });

  it.each(['a write', 'the idle close'])(
    'hides no commit from a process that made another, and lets it lose none: %s finds it',
    async finder => {
      const lane = tenantInUse();
      rmSync(`${lane.file}-shm`);
      const ask = await openElsewhere(lane.file);
      expect(await ask(COUNT)).toEqual([3 * ROWS]);
      if (finder === 'a write') {
        for (let round = 1; round <= 3; round++) {
          lane.apply(writes(INSERT));
          expect(await ask(COUNT)).toEqual([3 * ROWS + round]);
        }
      }
      expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
      lane.apply(fillLarge());
      await turn();
      lane.apply(fill());
      const rows = 4 * ROWS + LARGE_ROWS + (finder === 'a write' ? 3 : 0);
      expect(await ask(COUNT)).toEqual([rows]);
      expect(await ask('PRAGMA integrity_check')).toEqual(['ok']);
    },
  );

  it.each(['a write', 'the idle close'])(
    'is retired for readers that have the old one open: the next read fails, and sees all when the file is opened again; after %s',
    async finder => {
      const lane = tenantInUse();
      const ask = await openElsewhere(lane.file);
      expect(await ask(COUNT)).toEqual([3 * ROWS]);
      rmSync(`${lane.file}-shm`);
      if (finder === 'the idle close') lane.lane.run({ kind: 'close', tenant: 'acme' });
      lane.apply(writes(INSERT));
      expect(await ask(COUNT)).toEqual(['SQLITE_CANTOPEN']);
      await ask('close');
      expect(await (await openElsewhere(lane.file))(COUNT)).toEqual([3 * ROWS + 1]);
    },
  );

  it('loses nothing where the process that made another is the last to close', async () => {
    const lane = tenantInUse();
    rmSync(`${lane.file}-shm`);
    const ask = await openElsewhere(lane.file);
    expect(await ask(COUNT)).toEqual([3 * ROWS]);
    lane.apply(fill());
    // Without having looked.
    await ask('close');
    expect(existsSync(`${lane.file}-wal`)).toBe(false);
    lane.apply(writes(INSERT));
    expect(lane.column(COUNT)).toEqual([4 * ROWS + 1]);
    expect(lane.column('PRAGMA integrity_check')).toEqual(['ok']);
  });

  it('is made again when the other thread that has the old one open closes the tenant', () => {
    const before = tenantInUse();
    const after = new TemporaryLane(before.options);
    after.apply(fill());
    rmSync(`${after.file}-shm`);
    after.apply(fill());
    before.lane.run({ kind: 'close', tenant: 'acme' });
    after.apply(fill());
    after.apply(writes(INSERT));
    expect(existsSync(`${after.file}-shm`)).toBe(true);
    expect(after.column(COUNT)).toEqual([6 * ROWS + 1]);
    expect(after.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
    expect(look(after.file, COUNT)).toEqual([6 * ROWS + 1]);
  });
});

describe('an index of the log (-shm) that an older copy is written over', () => {
  const COUNT = 'SELECT count(*) FROM t';
  /** As `cp` does, without the moment in which it is empty. */
  const overwrite = (file: string, older: Buffer) => {
    const descriptor = openSync(`${file}-shm`, 'r+');
    writeSync(descriptor, older);
    closeSync(descriptor);
  };

  it.each(['a write', 'a checkpoint', 'the idle close', 'a new leader'])(
    'is made again from the log, and no commit is lost: %s finds it',
    async finder => {
      const lane = tenantInUse();
      // Has the index open, so that it stays as it is for the next open of the file.
      const ask = await openElsewhere(lane.file);
      expect(await ask(COUNT)).toEqual([3 * ROWS]);
      const older = readFileSync(`${lane.file}-shm`);
      for (let round = 0; round < 5; round++) lane.apply(fill());
      if (finder === 'a checkpoint') lane.apply(fillLarge());
      const rows = 8 * ROWS + (finder === 'a checkpoint' ? LARGE_ROWS : 0);
      overwrite(lane.file, older);
      if (finder === 'a checkpoint') await turn();
      if (finder === 'the idle close') {
        expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
      }
      const writer = finder === 'a new leader' ? new TemporaryLane(lane.options) : lane;
      for (let round = 1; round <= 3; round++) {
        writer.apply(writes(INSERT));
        expect(await ask(COUNT)).toEqual([rows + round]);
      }
      expect(await ask('PRAGMA integrity_check')).toEqual(['ok']);
      expect(writer.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
      expect(await ask(COUNT)).toEqual([rows + 3]);
    },
  );

  it('is left to readers as it is while another process holds the write lock: its commit may be in progress', async () => {
    const lane = tenantInUse();
    const ask = await openElsewhere(lane.file);
    const older = readFileSync(`${lane.file}-shm`);
    lane.apply(fill());
    expect(await ask('BEGIN IMMEDIATE')).toEqual([0]);
    overwrite(lane.file, older);
    const next = new TemporaryLane({ ...lane.options, busyTimeoutMs: 100 });
    expect(refused(next.run([writes(INSERT)]))).toMatchObject({ error: { code: 'DATABASE_BUSY' } });
    const header = readFileSync(`${lane.file}-shm`).subarray(0, 96);
    expect(header.equals(older.subarray(0, 96))).toBe(true);
    await ask('ROLLBACK');
    next.apply(writes(INSERT));
    expect(await ask(COUNT)).toEqual([4 * ROWS + 1]);
  });
});

describe('another process that uses SQLite', () => {
  const other = (lane: TemporaryLane) => {
    const db = new Database(lane.file);
    onTestFinished(() => void db.close());
    return db;
  };

  const theirs = "INSERT INTO t(a) VALUES ('theirs')";

  it.each(['a write', 'steps of their own', 'the idle close', 'the end of the process'])(
    'and commits is found before the next commit, by %s',
    finder => {
      const lane = tenantInUse();
      inAnotherProcess(lane.file, theirs);
      if (finder === 'the idle close' || finder === 'the end of the process') {
        const tenant = finder === 'the idle close' ? 'acme' : null;
        expect(lane.lane.run({ kind: 'close', tenant })).toMatchObject({
          changed: [{ tenant: 'acme', error: { details: { reason: FILE_CHANGED } } }],
        });
      }
      const job =
        finder === 'a write'
          ? writes(INSERT)
          : queuedJob(['BEGIN', INSERT, 'COMMIT'], [{ q: [{ s: 0 }, { s: 1 }, { s: 2 }] }]);
      const first = refused(lane.run([job]));
      // Nothing of it was run.
      expect(first).toMatchObject({ uncertain: !first.begun, error: { details: { reason: FILE_CHANGED } } });
      const finding = expectWithheld(lane);
      expect(first.error.message).toBe(finding);
      expect(finding).toMatch(
        /^Another process wrote to the file .*onewriter tenants pause acme, then resume\.$/,
      );
      expect(look(lane.file, 'SELECT count(*) FROM t')).toEqual([3 * ROWS + 1]);
      expectWrittenOn(lane, 't', 3 * ROWS + 1);
    },
  );

  it('and commits is found by a transaction that may stay open', () => {
    const lane = tenantInUse();
    inAnotherProcess(lane.file, theirs);
    const outcome = lane.lane.run({
      kind: 'apply',
      tenant: 'acme',
      epoch: 1,
      jobs: [queuedJob(['BEGIN', INSERT], [{ q: [{ s: 0 }, { s: 1 }], i: 1 }])],
      transaction: { id: 'a', expiresAt: Date.now() + 60_000 },
    });
    expect(refused(outcome).error.message).toBe(expectWithheld(lane));
  });

  it('and commits is found where it wrote the log back, and where its commits are fewer than what was in the log', () => {
    const lane = tenantInUse();
    const db = other(lane);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.exec(theirs);
    expect(expectWithheld(lane)).toMatch(/^Another process wrote to the file /);
  });

  it('and commits is found after the file was open under another epoch', () => {
    const lane = tenantInUse();
    applied(lane.run([writes(INSERT)], { epoch: 9 }));
    other(lane).exec(theirs);
    const { error } = refused(lane.run([writes(INSERT)], { epoch: 9 }));
    expect(error.details).toEqual({ reason: FILE_CHANGED });
  });

  it.each(['a write', 'the idle close'])(
    'and commits is found where it wrote all of the log back and cut it: by %s',
    async finder => {
      const lane = await tenantWithCounter();
      lane.apply(writes(INSERT), writes(INSERT));
      inAnotherProcess(lane.file, "UPDATE t SET a = 'theirs' WHERE id = 1; PRAGMA wal_checkpoint(TRUNCATE)");
      if (finder === 'the idle close') lane.lane.run({ kind: 'close', tenant: 'acme' });
      expect(expectWithheld(lane)).toMatch(/^Another process wrote to the file /);
    },
  );

  it('and cuts the log, in the middle of a commit of this one, does not count as another change', async () => {
    const lane = await tenantWithCounter();
    for (let round = 0; round < 4; round++) {
      atNextBegin(() => inAnotherProcess(lane.file, 'PRAGMA wal_checkpoint(TRUNCATE)'));
      lane.apply(writes(INSERT));
      lane.apply(writes(INSERT), fill());
      inAnotherProcess(lane.file, 'PRAGMA wal_checkpoint(TRUNCATE)');
    }
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
    expect(look(lane.file, 'SELECT count(*) FROM t')).toEqual([7 * ROWS + 8]);
  });

  it.each(['the log stays', 'the log is cut'])(
    'and removes internal tables is found before anything is answered without them: %s',
    what => {
      const lane = tenantInUse();
      inAnotherProcess(lane.file, DROP_LEDGER);
      if (what === 'the log is cut') inAnotherProcess(lane.file, 'PRAGMA wal_checkpoint(TRUNCATE)');
      const finding = expectWithheld(lane);
      expect(finding).toMatch(/^Another process wrote to the file .* removed or changed tables of Onewriter/);
      expect(finding).toContain('onewriter restore <backup> acme --replace');
      // To be released is of no use.
      releaseWithheld(lane.options.dataDir, 'acme', 'tenant.db');
      expect(refused(lane.run([writes(INSERT)])).error).toMatchObject({
        code: 'TENANT_UNAVAILABLE',
        message: expect.stringContaining('sqlite_onewriter_ledger was removed'),
      });
      expect(look(lane.file, 'SELECT count(*) FROM t')).toEqual([3 * ROWS]);
    },
  );

  it('and commits does not stop writes of the tenant if it is released each time', () => {
    const lane = tenantInUse();
    const db = other(lane);
    for (let round = 0; round < 3; round++) {
      db.exec(theirs);
      expectWithheld(lane);
      releaseWithheld(lane.options.dataDir, 'acme', 'tenant.db');
      lane.apply(writes(INSERT));
    }
    expect(lane.column("SELECT sum(a = 'theirs') FROM t")).toEqual([3]);
  });

  it('may roll back, read and lock', () => {
    const lane = tenantInUse();
    const db = other(lane);
    db.exec(`BEGIN IMMEDIATE; ${theirs}; ROLLBACK`);
    lane.apply(writes(INSERT));
    db.exec('BEGIN; SELECT count(*) FROM t');
    lane.apply(writes(INSERT));
    db.exec('COMMIT');
    lane.apply(writes(INSERT));
  });

  it.each(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])('may make a %s checkpoint, at any time', mode => {
    const lane = tenantInUse();
    const db = other(lane);
    for (let round = 0; round < 4; round++) {
      db.pragma(`wal_checkpoint(${mode})`);
      lane.apply(writes(INSERT));
      db.pragma(`wal_checkpoint(${mode})`);
      lane.apply(fill(), writes(INSERT));
    }
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
    expect(look(lane.file, 'PRAGMA integrity_check')).toEqual(['ok']);
    expect(look(lane.file, 'SELECT count(*) FROM t')).toEqual([7 * ROWS + 8]);
  });

  it('is known for what it is where the log gets a number that it had before: each connection counts for itself', async () => {
    const lane = tenantInUse();
    lane.apply(fillLarge());
    await turn();
    lane.apply(fill());
    const db = other(lane);
    db.pragma('wal_checkpoint(PASSIVE)');
    db.exec("INSERT INTO t(a) VALUES ('theirs')");
    expect(() => lane.apply(writes(INSERT))).toThrow(/Another process wrote to the file/);
    expect(lane.column("SELECT count(*) FROM t WHERE a = 'theirs'")).toEqual([1]);
  });
});

it('knows the checkpoint of a thread that closes a moved tenant, also where a commit comes right after it', () => {
  const before = tenantInUse();
  const after = new TemporaryLane(before.options);
  applied(after.run([]));
  // When `after` has looked at the files.
  atNextBegin(() => {
    before.lane.run({ kind: 'close', tenant: 'acme' });
    expect(statSync(`${after.file}-wal`).size).toBe(0);
  });
  after.apply(writes(INSERT));
  after.apply(writes(INSERT));
  expect(after.column('SELECT count(*) FROM t')).toEqual([3 * ROWS + 2]);
});

it('knows the commits of another thread of the same broker, while the tenant was there', () => {
  const before = tenantInUse();
  const after = new TemporaryLane(before.options);
  after.apply(fill());
  before.apply(fill());
  // The epoch is noted by a commit without a number, after the last that has one.
  applied(after.run([], { epoch: 2 }));
  applied(before.run([writes(INSERT)], { epoch: 2 }));
  applied(after.run([writes(INSERT)], { epoch: 2 }));
  for (const lane of [before, after]) {
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).not.toHaveProperty('changed');
  }
  expect(look(after.file, 'SELECT count(*) FROM t')).toEqual([5 * ROWS + 2]);
});

it('suspects no other program where its own transaction finds the disk full', () => {
  const dataDir = mountTmpfs('size=4m');
  if (dataDir === undefined) return;
  const lane = new TemporaryLane({ dataDir });
  lane.apply(TABLE, fill());
  const large = writes('INSERT INTO t(a) VALUES (zeroblob(8000000))');
  for (let round = 1; round <= 2; round++) {
    expect(applied(lane.run([large])).jobs).toMatchObject([{ failureCodes: ['DATABASE_FULL'] }]);
    lane.apply(writes(INSERT));
    expect(lane.column('SELECT count(*) FROM t')).toEqual([ROWS + round]);
  }
});

it('waits for a checkpoint with a long flush, and does not count it as another change', async () => {
  const lane = tenantInUse();
  const other = new Database(lane.file);
  const writer = new Database(lane.file);
  onTestFinished(() => {
    other.close();
    writer.close();
  });
  // A checkpoint has its lock, and waits for the writer: so long it has written nothing back.
  writer.exec('BEGIN IMMEDIATE');
  const program = `new (require(${JSON.stringify(SQLITE)}))(${JSON.stringify(lane.file)}, { timeout: 30000 }).pragma('wal_checkpoint(FULL)')`;
  const checkpoint = spawn(process.execPath, ['--eval', program], { stdio: 'ignore' });
  onTestFinished(() => void checkpoint.kill('SIGKILL'));
  await vi.waitFor(() => expect(isBeingCheckpointed(`${lane.file}-shm`)).toBe(true), { timeout: 20_000 });
  // As its first pages do.
  utimesSync(lane.file, new Date(), new Date());
  expect(applied(lane.run([])).jobs).toEqual([]);
  writer.exec('ROLLBACK');
  await once(checkpoint, 'exit');
  expect(isBeingCheckpointed(`${lane.file}-shm`)).toBe(false);
  lane.apply(writes(INSERT));
  expect(lane.column('SELECT count(*) FROM t')).toEqual([3 * ROWS + 1]);
});

it('leaves the log alone where a thread closes a tenant that another thread has open', async () => {
  const before = tenantInUse();
  const after = new TemporaryLane(before.options);
  after.apply(fill());
  // It knows of the other's commits.
  before.apply(fillLarge());
  await turn();
  // That log was cut.
  before.apply(fill());
  // To this one, which does not look at it, the file is written by something else: as it may seem while another checkpoints.
  utimesSync(before.file, 1, 1);
  expect(before.lane.run({ kind: 'close', tenant: 'acme' })).toEqual({ kind: 'closed', tenants: ['acme'] });
  expect(statSync(`${before.file}-wal`).size).toBeGreaterThan(100_000);
  after.apply(fill());
  expect(after.column('SELECT count(*) FROM t')).toEqual([6 * ROWS + LARGE_ROWS]);
  expect(after.column('PRAGMA integrity_check')).toEqual(['ok']);
});

it('saves the data of a moved tenant, also where the closing thread got it from another', () => {
  const before = tenantInUse();
  const after = new TemporaryLane(before.options);
  after.apply(fill());
  before.lane.run({ kind: 'close', tenant: 'acme' });
  rmSync(after.file);
  const { changed } = after.lane.run({ kind: 'close', tenant: 'acme' });
  expect(changed).toHaveLength(1);
  expectRescued(changed![0]!.error.message, 4 * ROWS);
});
