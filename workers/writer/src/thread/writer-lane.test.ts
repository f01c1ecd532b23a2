import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { DATABASE_GONE, findDatabaseFile, newDatabaseName, noteFormerDatabase } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { SettableClock } from '../../test-support/settable-clock.ts';
import {
  applied,
  queuedJob,
  refused,
  resultsOf,
  script,
  TemporaryLane,
  temporaryDataDir,
  verdicts,
  writes,
} from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import { WalCheckpoints } from '../file/wal-checkpoints.ts';
import type { GroupItemOutcome, QueuedJob } from './lane-task.ts';
import { FILE_CHANGED, releaseWithheld } from './withheld-tenant.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
const INSERT = 'INSERT INTO t(a) VALUES (1)';

/** A connection that is not the writer's, closed when the test ends. */
function otherConnection(file: string): Database.Database {
  const db = new Database(file, { timeout: 0 });
  onTestFinished(() => void db.close());
  return db;
}

/** Overwrites a page of a file that no process has open. */
function damagePage(file: string, page: number): void {
  const content = readFileSync(file);
  content.fill(0xff, (page - 1) * 4096, page * 4096);
  writeFileSync(file, content);
}

/** A tenant's file made without the writer. */
function makeExistingFile(lane: TemporaryLane, fill: (db: Database.Database) => void): void {
  mkdirSync(dirname(lane.file), { recursive: true });
  const db = new Database(lane.file);
  fill(db);
  db.close();
}

describe('opening a tenant', () => {
  it('makes folder and file in WAL mode, with the internal tables', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    expect(lane.rows('PRAGMA journal_mode')).toEqual([['wal']]);
    expect(lane.rows('SELECT * FROM sqlite_onewriter_state')).toEqual([[1, 3, 1, 0, 'full']]);
    expect(lane.commitSeq).toBe(1);
    const database = TenantDatabase.open('acme', { ...lane.options, epoch: 1 });
    const pragma = (name: string) => database.db.pragma(name, { simple: true });
    expect([pragma('synchronous'), pragma('foreign_keys'), pragma('wal_autocheckpoint')]).toEqual([2, 1, 0]);
    database.close();
    database.close();
  });

  it('refuses a tenant without a file where none may be made, and makes none', () => {
    const lane = new TemporaryLane({ createTenants: false });
    expect(refused(lane.run([TABLE]))).toMatchObject({
      error: { code: 'TENANT_NOT_FOUND' },
      uncertain: false,
    });
    expect(existsSync(join(lane.options.dataDir, 'tenants'))).toBe(false);
    mkdirSync(dirname(lane.file), { recursive: true });
    expect(refused(lane.run([TABLE])).error.code).toBe('TENANT_NOT_FOUND');
    expect(refused(lane.run([TABLE], { tenant: '../acme' })).error.code).toBe('INVALID_TENANT');
  });

  it('opens a file without jobs where there is one, and makes none', () => {
    const lane = new TemporaryLane();
    expect(refused(lane.run([]))).toMatchObject({ error: { code: 'TENANT_NOT_FOUND' }, begun: false });
    expect(existsSync(join(lane.options.dataDir, 'tenants'))).toBe(false);
    lane.applyOne(TABLE);
    lane.lane.run({ kind: 'close', tenant: null });
    expect(lane.run([])).toMatchObject({ kind: 'applied', jobs: [] });
    expect(lane.commitSeq).toBe(1);
  });

  it('accepts an existing file with tables of its own, in place', () => {
    const lane = new TemporaryLane({ dbFile: 'kanban.db', createTenants: false });
    makeExistingFile(lane, db =>
      db.exec(
        "PRAGMA user_version = 7; CREATE TABLE tasks(id TEXT PRIMARY KEY); INSERT INTO tasks VALUES ('t1')",
      ),
    );
    expect(
      verdicts(lane.applyOne(writes("INSERT INTO tasks VALUES ('t2')", "INSERT INTO tasks VALUES ('t1')"))),
    ).toEqual(['ok', 'SQLITE_CONSTRAINT_PRIMARYKEY']);
    expect(lane.column('SELECT id FROM tasks')).toEqual(['t1', 't2']);
    expect(lane.column('PRAGMA user_version')).toEqual([7]);
  });

  it('refuses a file of a format it does not know', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    lane.lane.close();
    makeExistingFile(lane, db => db.exec('UPDATE sqlite_onewriter_state SET format = 4'));
    expect(refused(lane.run([writes(INSERT)]))).toMatchObject({
      error: { code: 'TENANT_UNAVAILABLE', details: { fileFormat: 4 } },
      uncertain: true,
      begun: false,
    });
  });

  it('refuses what is not a database, and leaves it as it is', () => {
    const lane = new TemporaryLane();
    mkdirSync(dirname(lane.file), { recursive: true });
    writeFileSync(lane.file, 'not a database, but its owner may want it back'.repeat(100));
    const before = statSync(lane.file);
    expect(refused(lane.run([TABLE])).error).toMatchObject({
      code: 'DATABASE_CORRUPT',
      details: { sqliteCode: 'SQLITE_NOTADB' },
    });
    expect(statSync(lane.file)).toMatchObject({ size: before.size, mtimeMs: before.mtimeMs });
    // Another tenant of the lane continues.
    expect(lane.run([TABLE], { tenant: 'other' })).toMatchObject({ kind: 'applied' });
  });

  it.each([
    [
      'folder that links to another tenant',
      (tenants: string) => symlinkSync(join(tenants, 'other'), join(tenants, 'acme')),
    ],
    ['folder that links out', (tenants: string) => symlinkSync('/tmp', join(tenants, 'acme'))],
    ['folder that links to nothing', (tenants: string) => symlinkSync('/nowhere', join(tenants, 'acme'))],
    [
      'file that links to another tenant',
      (tenants: string) => {
        mkdirSync(join(tenants, 'acme'));
        symlinkSync(join(tenants, 'other', 'tenant.db'), join(tenants, 'acme', 'tenant.db'));
      },
    ],
    [
      'file that is a folder',
      (tenants: string) => mkdirSync(join(tenants, 'acme', 'tenant.db'), { recursive: true }),
    ],
  ])('refuses a %s', (_, place) => {
    const lane = new TemporaryLane();
    lane.run([TABLE], { tenant: 'other' });
    place(join(lane.options.dataDir, 'tenants'));
    expect(refused(lane.run([TABLE])).error.code).toBe('TENANT_UNAVAILABLE');
  });

  it('refuses a link that leads nowhere, and makes no file at its end', () => {
    const lane = new TemporaryLane();
    mkdirSync(dirname(lane.file), { recursive: true });
    const name = newDatabaseName('tenant.db');
    symlinkSync(name, lane.file);
    expect(refused(lane.run([TABLE])).error.code).toBe('TENANT_UNAVAILABLE');
    expect(existsSync(join(dirname(lane.file), name))).toBe(false);
  });

  it('makes the file of a tenant that had one before under a name of its own', () => {
    const lane = new TemporaryLane();
    noteFormerDatabase(lane.options.dataDir, 'acme');
    lane.applyOne(TABLE);
    const { path, incarnation } = findDatabaseFile(lane.file)!;
    expect(incarnation).toMatch(/^[0-9a-f]{20}$/);
    expect(existsSync(`${path}-wal`)).toBe(true);
    expect(existsSync(`${lane.file}-wal`)).toBe(false);
    // It is opened by its link again, and notices when that leads elsewhere.
    lane.lane.close();
    lane.applyOne(writes(INSERT));
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
    const other = newDatabaseName('tenant.db');
    copyFileSync(path, join(dirname(lane.file), other));
    rmSync(lane.file);
    symlinkSync(other, lane.file);
    expect(refused(lane.run([writes(INSERT)])).error).toMatchObject({
      code: 'TENANT_UNAVAILABLE',
      details: { reason: FILE_CHANGED },
    });
  });

  it('needs no shared memory in exclusive mode', () => {
    const lane = new TemporaryLane({ exclusive: true });
    lane.applyOne(TABLE);
    expect(existsSync(`${lane.file}-wal`)).toBe(true);
    expect(existsSync(`${lane.file}-shm`)).toBe(false);
    const other = otherConnection(lane.file);
    expect(() => other.prepare('SELECT * FROM t').all()).toThrow(
      expect.objectContaining({ code: 'SQLITE_BUSY' }),
    );
  });
});

describe('a lane', () => {
  it('closes the tenant that was used least recently to stay within its bound', () => {
    const lane = new TemporaryLane({ maxOpenTenants: 2 });
    const run = (tenant: string) => applied(lane.run([writes('SELECT 1')], { tenant })).evicted;
    expect([run('a'), run('b'), run('a'), run('c'), run('b')]).toEqual([[], [], [], ['b'], ['a']]);
    expect(lane.lane.run({ kind: 'close', tenant: 'd' })).toEqual({ kind: 'closed', tenants: [] });
    expect(lane.lane.run({ kind: 'close', tenant: null })).toEqual({ kind: 'closed', tenants: ['c', 'b'] });
    // Closed, and the WAL written back.
    expect(existsSync(join(lane.options.dataDir, 'tenants/c/tenant.db-wal'))).toBe(false);
  });

  it.each(['a reader', 'no reader'])(
    'leaves a small log where it closes a tenant for another and %s has the file open',
    readers => {
      const lane = new TemporaryLane({ maxOpenTenants: 1 });
      const walBytes = () => statSync(`${lane.file}-wal`, { throwIfNoEntry: false })?.size ?? 0;
      const count = () => lane.column('SELECT count(*) FROM t');
      lane.apply(TABLE, writes(INSERT));
      const reader = readers === 'a reader' ? otherConnection(lane.file) : undefined;
      reader?.prepare('SELECT count(*) FROM t').get();
      const logged = walBytes();
      const written = statSync(lane.file).size;
      applied(lane.run([TABLE], { tenant: 'b' }));
      expect([walBytes(), statSync(lane.file).size]).toEqual([logged, written]);
      // The next opening appends to it.
      lane.apply(writes(INSERT));
      expect(walBytes()).toBeGreaterThan(logged);
      // A requested close writes all of it to the file, also where the file is not open any more.
      applied(lane.run([writes(INSERT)], { tenant: 'b' }));
      expect(walBytes()).toBeGreaterThan(logged);
      lane.lane.run({ kind: 'close', tenant: 'acme' });
      expect([walBytes(), count()]).toEqual([0, [2]]);
      // So is a large one, without being asked for.
      lane.apply(writes(`INSERT INTO t(a) VALUES (zeroblob(${2 ** 21}))`));
      applied(lane.run([writes(INSERT)], { tenant: 'b' }));
      expect(walBytes()).toBe(0);
    },
  );

  it('writes the logs back that it left when it ends', () => {
    const lane = new TemporaryLane({ maxOpenTenants: 1 });
    lane.apply(TABLE, writes(INSERT));
    applied(lane.run([TABLE], { tenant: 'b' }));
    expect(existsSync(`${lane.file}-wal`)).toBe(true);
    lane.lane.run({ kind: 'close', tenant: null });
    expect(existsSync(`${lane.file}-wal`)).toBe(false);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
  });

  it('leaves the log of a tenant that another leader has taken over', () => {
    const lane = new TemporaryLane({ maxOpenTenants: 1 });
    lane.apply(TABLE, writes(INSERT));
    applied(lane.run([TABLE], { tenant: 'b' }));
    const next = new TemporaryLane({ dataDir: lane.options.dataDir });
    applied(next.run([writes(INSERT)], { epoch: 2 }));
    expect(lane.lane.run({ kind: 'close', tenant: 'acme' })).toEqual({ kind: 'closed', tenants: [] });
    expect(next.column('SELECT count(*) FROM t')).toEqual([2]);
  });

  it('leaves logs to the next opener where there is no time to close all', () => {
    const lane = new TemporaryLane();
    const tenants = ['a', 'b', 'acme'];
    for (const tenant of tenants) applied(lane.run([TABLE, writes(INSERT)], { tenant }));
    expect(lane.lane.run({ kind: 'close', tenant: null, withinMs: 0 })).toEqual({
      ...{ kind: 'closed', tenants: [], left: 3 },
    });
    // As after a crash: the files are copied as they are, and opened.
    const copy = temporaryDataDir();
    cpSync(lane.options.dataDir, copy, { recursive: true });
    const next = new TemporaryLane({ dataDir: copy });
    expect(statSync(`${next.file}-wal`).size).toBeGreaterThan(0);
    applied(next.run([writes(INSERT)], { epoch: 2 }));
    expect(next.column('SELECT count(*) FROM t')).toEqual([2]);
    expect(lane.lane.run({ kind: 'close', tenant: null, withinMs: 60_000 })).toEqual({
      ...{ kind: 'closed', tenants },
    });
    expect(existsSync(`${lane.file}-wal`)).toBe(false);
  });

  it('at its end leaves a small log to readers that have the file open, and cuts a large one', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE);
    const reader = otherConnection(lane.file);
    reader.prepare('SELECT count(*) FROM t').get();
    lane.lane.run({ kind: 'close', tenant: null });
    expect(statSync(`${lane.file}-wal`).size).toBeGreaterThan(0);
    lane.apply(writes('INSERT INTO t(a) SELECT zeroblob(2000000)'));
    lane.lane.run({ kind: 'close', tenant: null });
    expect(statSync(`${lane.file}-wal`).size).toBe(0);
    expect(reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(1);
  });

  it('publishes its position', () => {
    const lane = new TemporaryLane();
    const cells = new Int32Array(lane.options.progress);
    lane.apply(TABLE, writes(INSERT, INSERT, INSERT));
    expect([...cells]).toEqual([0, 1, 2, 0, 1]);
  });

  it('posts each outcome of a group separately, and leaves out revoked tasks', () => {
    const lane = new TemporaryLane();
    const cells = new Int32Array(lane.options.progress);
    const tasks = ['a', 'b', 'c'].map(tenant => ({
      kind: 'apply' as const,
      tenant,
      epoch: 1,
      jobs: [writes('SELECT 1')],
    }));
    const posted: GroupItemOutcome[] = [];
    const run = (onPost: () => void) =>
      lane.lane.run({ kind: 'group', id: 7, tasks }, outcome => {
        posted.push(outcome);
        onPost();
      });
    expect(run(() => {})).toEqual({ kind: 'group', started: 3 });
    expect(posted.map(({ group, item, outcome }) => [group, item, outcome.kind])).toEqual([
      [7, 0, 'applied'],
      [7, 1, 'applied'],
      [7, 2, 'applied'],
    ]);
    posted.length = 0;
    Atomics.store(cells, 3, 0);
    expect(run(() => Atomics.store(cells, 3, 1 << 30))).toEqual({ kind: 'group', started: 1 });
    expect(posted).toHaveLength(1);
  });

  it('names the WAL that has to be flushed, and only where a commit did not flush it', () => {
    const lane = new TemporaryLane();
    const run = (flush: 'commit' | 'later', job: QueuedJob) =>
      applied(lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [job], flush })).unflushed;
    const { dev, ino } = (() => {
      lane.applyOne(TABLE);
      return statSync(`${lane.file}-wal`);
    })();
    const wal = { path: `${lane.file}-wal`, identity: `${dev}:${ino}` };
    const job = writes(INSERT);
    expect(run('later', job)).toEqual(wal);
    // Applied already: no commit flushes what the first left.
    expect(run('commit', job)).toEqual(wal);
    expect(run('commit', writes(INSERT))).toBeUndefined();
    expect(run('later', job)).toBeUndefined();
    expect(run('later', writes(INSERT))).toEqual(wal);
  });

  it('opens a file again after its WAL could not be flushed, and writes all of it back first', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, writes(INSERT));
    lane.lane.run({ kind: 'distrust', tenant: 'acme' }, () => {});
    const truncate = vi.spyOn(WalCheckpoints.prototype, 'complete');
    onTestFinished(() => truncate.mockRestore());
    lane.applyOne(writes(INSERT));
    expect(truncate).toHaveBeenCalledOnce();
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
  });

  it('opens a file again that failed under another thread, and writes all of its log back first', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, writes(INSERT));
    const truncate = vi.spyOn(WalCheckpoints.prototype, 'complete');
    onTestFinished(() => truncate.mockRestore());
    const task = { kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)] } as const;
    applied(lane.lane.run({ ...task, afterIoError: true }));
    expect(truncate).toHaveBeenCalledOnce();
    applied(lane.lane.run(task));
    expect(truncate).toHaveBeenCalledOnce();
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
  });

  it('waits for another writer up to the busy timeout, then refuses, and recovers', () => {
    const lane = new TemporaryLane({ busyTimeoutMs: 50 });
    lane.applyOne(TABLE);
    const other = otherConnection(lane.file);
    other.exec('BEGIN IMMEDIATE');
    expect(refused(lane.run([writes(INSERT)]))).toMatchObject({
      error: { code: 'DATABASE_BUSY' },
      uncertain: false,
    });
    other.exec('ROLLBACK');
    expect(verdicts(lane.applyOne(writes(INSERT)))).toEqual(['ok']);
  });

  it('makes no empty file in place of one that was deleted or moved away while it was open', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, writes(INSERT));
    const folder = dirname(lane.file);
    renameSync(folder, `${folder}.away`);
    for (const _ of [1, 2]) {
      expect(refused(lane.run([writes(INSERT)])).error.code).toBe('TENANT_UNAVAILABLE');
      expect(existsSync(lane.file)).toBe(false);
    }
    rmSync(folder, { recursive: true, force: true });
    renameSync(`${folder}.away`, folder);
    lane.applyOne(writes(INSERT));
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
  });

  it.each(['its folder', 'its file'])(
    'makes no empty file in place of one that went, with %s, while no broker ran',
    part => {
      const lane = new TemporaryLane();
      lane.apply(TABLE, writes(INSERT));
      // As after a kill: what it has open is closed by nothing.
      const next = new TemporaryLane(lane.options);
      const moved = part === 'its folder' ? dirname(lane.file) : lane.file;
      const away = `${lane.options.dataDir}/away`;
      renameSync(moved, away);
      const { error, begun, uncertain } = refused(next.run([writes(INSERT)]));
      expect(error).toMatchObject({ code: 'TENANT_UNAVAILABLE', details: { reason: DATABASE_GONE } });
      expect(error.message).toContain(`gone from ${lane.file}`);
      expect({ begun, uncertain }).toEqual({ begun: false, uncertain: true });
      // Nor with a look, after which a session assumes that the file can be used.
      expect(refused(next.run([])).error.message).toBe(error.message);
      expect(existsSync(moved)).toBe(false);
      renameSync(away, moved);
      next.applyOne(writes(INSERT));
      expect(next.column('SELECT count(*) FROM t')).toEqual([2]);
    },
  );

  it('makes a new file, under a name of its own, when a person has accepted that the old one is gone', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, writes(INSERT));
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    rmSync(dirname(lane.file), { recursive: true });
    refused(lane.run([TABLE]));
    // Handling another problem does not accept it.
    releaseWithheld(lane.options.dataDir, 'acme');
    refused(lane.run([TABLE]));
    expect(releaseWithheld(lane.options.dataDir, 'acme', 'tenant.db')).toBe(true);
    lane.applyOne(TABLE);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([0]);
    expect(findDatabaseFile(lane.file)?.incarnation).not.toBe('');
    // One that is there is not forgotten by a pause.
    expect(releaseWithheld(lane.options.dataDir, 'acme', 'tenant.db')).toBe(false);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    rmSync(dirname(lane.file), { recursive: true });
    expect(refused(lane.run([TABLE])).error.details).toMatchObject({ reason: DATABASE_GONE });
  });

  it('knows a tenant that was there before such marks were made, from its first open', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    rmSync(join(lane.options.dataDir, 'known'), { recursive: true });
    lane.apply(writes(INSERT));
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    rmSync(dirname(lane.file), { recursive: true });
    refused(lane.run([TABLE]));
  });

  it('stops at a damaged page, and says so', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE, writes(INSERT));
    const [root] = lane.column("SELECT rootpage FROM sqlite_schema WHERE name = 't'");
    lane.lane.close();
    damagePage(lane.file, root as number);
    expect(refused(lane.run([writes('SELECT 1', INSERT)])).error).toMatchObject({ code: 'DATABASE_CORRUPT' });
    expect(lane.commitSeq).toBe(1);
  });
});

describe('an I/O error at COMMIT', () => {
  /** Makes the next COMMIT fail as a failed flush does: after the write, or instead of it. */
  function failCommit(lane: TemporaryLane, written: boolean): void {
    const open = TenantDatabase.open;
    vi.spyOn(TenantDatabase, 'open').mockImplementationOnce((...args) => {
      const database = open.apply(TenantDatabase, args);
      const commit = database.commit.bind(database);
      vi.spyOn(database, 'commit').mockImplementationOnce(numbered => {
        if (written) commit(numbered);
        throw new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_FSYNC');
      });
      return database;
    });
    lane.lane.run({ kind: 'close', tenant: null });
    onTestFinished(() => void vi.restoreAllMocks());
  }

  it('is applied if the ledger of the reopened file has it', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    failCommit(lane, true);
    const [job] = applied(lane.run([writes(INSERT)])).jobs;
    expect(job).toMatchObject({ duplicate: true, commitSeq: 2, results: '[[1,1]]' });
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
  });

  it('is refused for certain if the ledger does not have it', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    failCommit(lane, false);
    const job = writes(INSERT);
    expect(refused(lane.run([job]))).toMatchObject({
      error: { code: 'DATABASE_IO_ERROR' },
      uncertain: false,
    });
    expect(lane.applyOne(job)).toMatchObject({ duplicate: false, commitSeq: 2 });
    expect(lane.column('SELECT count(*) FROM t')).toEqual([1]);
  });

  it('is believed only when all of the WAL is flushed', () => {
    const lane = new TemporaryLane({ busyTimeoutMs: 20 });
    lane.applyOne(TABLE);
    const reader = otherConnection(lane.file);
    reader.exec('BEGIN; SELECT * FROM t');
    failCommit(lane, true);
    const job = writes(INSERT);
    expect(refused(lane.run([job]))).toMatchObject({ uncertain: true });
    expect(refused(lane.run([job])).error).toMatchObject({ code: 'TENANT_UNAVAILABLE' });
    reader.exec('COMMIT');
    expect(lane.applyOne(job)).toMatchObject({ duplicate: true, commitSeq: 2 });
  });
});

describe('the WAL', () => {
  const big = queuedJob(['INSERT INTO t(a) VALUES (zeroblob(400000))'], Array(5).fill({ s: 0 }));
  const write = (lane: TemporaryLane) =>
    applied(lane.run([{ ...big, id: `${big.id.slice(0, -6)}${String(count++).padStart(6, '0')}` }])).stats
      .walBytes;
  let count = 0;

  it('stays bounded under writes', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const sizes = Array.from({ length: 12 }, () => write(lane));
    expect(Math.max(...sizes)).toBeLessThan(12_000_000);
    expect(statSync(`${lane.file}-wal`).size).toBeLessThan(12_000_000);
  });

  it('grows while a reader holds it, delays no caller, and shrinks when the reader is gone', () => {
    const lane = new TemporaryLane();
    lane.applyOne(TABLE);
    const reader = otherConnection(lane.file);
    reader.exec('BEGIN; SELECT * FROM t');
    let size = 0;
    for (let round = 0; round < 12; round++) size = write(lane);
    expect(size).toBeGreaterThan(20_000_000);
    reader.exec('COMMIT');
    write(lane);
    write(lane);
    expect(write(lane)).toBeLessThan(12_000_000);
    expect(resultsOf(lane.applyOne(writes(INSERT)))).toHaveLength(1);
  });
});

describe('a job that the ledger does not have any more', () => {
  const DAY_MS = 24 * 60 * 60_000;
  /** A lane whose ledger begins with the jobs that Redis got after 2,000. */
  const prune = () => {
    const retentionClock = new SettableClock();
    const lane = new TemporaryLane({ retentionClock });
    lane.applyOne({ ...script('CREATE TABLE t(a)'), addedAt: 1_000 });
    const old = { ...writes('INSERT INTO t VALUES (1)', 'INSERT INTO t VALUES (2)'), addedAt: 2_000 };
    lane.applyOne(old);
    retentionClock.advance(10 * 60_000);
    lane.applyOne({ ...writes('INSERT INTO t VALUES (3)'), addedAt: 3_000 });
    // More jobs than the newest, which are kept: but for the first three.
    const more = () => ({ ...writes('SELECT 1'), addedAt: 4_000 });
    for (let batch = 0; batch < 40; batch++) lane.apply(...Array.from({ length: 26 }, more));
    retentionClock.advance(DAY_MS);
    lane.applyOne({ ...writes('SELECT 1'), addedAt: 5_000 });
    expect(lane.column('SELECT job_id FROM sqlite_onewriter_ledger')).not.toContain(old.id);
    return { lane, old };
  };

  it('is set aside as unknown where it may have been applied, and is not applied', () => {
    const { lane, old } = prune();
    const outcome = lane.applyOne(old);
    expect(outcome).toMatchObject({
      commitSeq: 0,
      error: { code: 'OUTCOME_UNKNOWN', details: { reason: 'older than the ledger' } },
    });
    expect(outcome.deadLetters?.map(({ sql, error }) => [sql, error.code])).toEqual([
      ['INSERT INTO t VALUES (1)', 'OUTCOME_UNKNOWN'],
      ['INSERT INTO t VALUES (2)', 'OUTCOME_UNKNOWN'],
    ]);
    expect(lane.column('SELECT a FROM t')).toEqual([1, 2, 3]);
  });

  it('is applied where Redis got it later, whatever the clock of its client says', () => {
    const { lane } = prune();
    const yearsAgo = 'w-00000000-0001-7000-8000-000000000001';
    const outcome = lane.applyOne({ ...writes('INSERT INTO t VALUES (4)'), id: yearsAgo, addedAt: 5_001 });
    expect(outcome.error).toBeUndefined();
    expect(lane.column('SELECT a FROM t')).toEqual([1, 2, 3, 4]);
  });

  it('does not keep the others of its batch from being applied', () => {
    const { lane, old } = prune();
    const [first, second] = lane.apply(old, { ...writes('INSERT INTO t VALUES (5)'), addedAt: 5_002 });
    expect([first!.error?.code, second!.error]).toEqual(['OUTCOME_UNKNOWN', undefined]);
    expect(lane.column('SELECT a FROM t')).toEqual([1, 2, 3, 5]);
  });
});
