import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import { takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { lz4Stored } from '../../test-support/lz4-stored.ts';
import { putLitestream } from './put-litestream.ts';

/* Against the built package. The fixture is what Litestream 0.3 would store of a file: a snapshot, and pieces of its log. */

const EARLIER = Date.parse('2026-11-30T12:00:00Z');
const LATER = EARLIER + 60_000;

let folder: string;
let place: { dataDir: string; group: string; dbFile: string; busyTimeoutMs: number };
const request = {
  ...{ redis: undefined, who: 'a test', priority: 'usual' as const, replace: false, tenant: 'acme' },
  limits: { timeoutMs: () => 60_000, memoryBytes: 1024 ** 3 },
} as const;
const urlOf = () => pathToFileURL(join(folder, 'store')).href;
const fileOf = () => tenantFile(place.dataDir, 'acme', 'tenant.db');

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-litestream-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'data/tenants'), { recursive: true });
  place = { dataDir: join(folder, 'data'), group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 1_000 };
});

function store(name: string, bytes: Buffer, atMs: number): void {
  const path = join(folder, 'store/generations/0123456789abcdef', name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, lz4Stored(bytes));
  utimesSync(path, atMs / 1_000, atMs / 1_000);
}

/** One row is in the snapshot, one in a piece of the log that was stored later. */
function makeReplica(prepare: (db: Database.Database) => void = () => {}): void {
  const path = join(folder, 'app.db');
  const db = new Database(path);
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  db.exec('CREATE TABLE t(v TEXT); CREATE TABLE _litestream_seq(id INTEGER PRIMARY KEY, seq INTEGER)');
  prepare(db);
  db.exec("INSERT INTO t VALUES ('in the snapshot')");
  db.pragma('wal_checkpoint(TRUNCATE)');
  store('snapshots/00000000.snapshot.lz4', readFileSync(path), EARLIER);
  db.exec("INSERT INTO t VALUES ('in the log')");
  store('wal/00000000_00000000.wal.lz4', readFileSync(`${path}-wal`), LATER);
  db.close();
}

function valuesOf(path: string): readonly string[] {
  const db = new Database(path);
  try {
    expect(db.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%litestream%'").all()).toEqual([]);
    return db.prepare<[], string>('SELECT v FROM t').pluck().all();
  } finally {
    db.close();
  }
}

it('makes a tenant of a replica, as it is or was', async () => {
  makeReplica();
  const made = await putLitestream(place, { ...request, url: urlOf() });
  expect(made).toMatchObject({ rows: 2, tables: 1, replaced: null, storedMs: LATER, commitSeq: 1 });
  expect(valuesOf(fileOf())).toEqual(['in the snapshot', 'in the log']);
  await expect(putLitestream(place, { ...request, url: urlOf() })).rejects.toMatchObject({
    code: 'TENANT_BUSY',
  });
  const then = { ...request, url: urlOf(), atMs: EARLIER + 1_000, replace: true };
  const put = await putLitestream(place, then);
  expect(put).toMatchObject({ rows: 1, replacedCommitSeq: 1, commitSeq: 2, storedMs: EARLIER });
  expect(valuesOf(fileOf())).toEqual(['in the snapshot']);
  expect(valuesOf(put.replaced!)).toEqual(['in the snapshot', 'in the log']);
}, 60_000);

it('leaves out what a file has of Onewriter, and numbers of its own', async () => {
  makeReplica(db => void takeEpoch(db, 7));
  const made = await putLitestream(place, { ...request, url: urlOf() });
  expect(made).toMatchObject({ commitSeq: 1, warnings: ["left out: Onewriter's own tables."] });
}, 60_000);

it('changes nothing where the replica is damaged, or is none', async () => {
  makeReplica();
  const piece = join(folder, 'store/generations/0123456789abcdef/wal/00000000_00000000.wal.lz4');
  writeFileSync(piece, readFileSync(piece).subarray(0, -1));
  await expect(putLitestream(place, { ...request, url: urlOf() })).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
  });
  rmSync(join(folder, 'store/generations'), { recursive: true });
  await expect(putLitestream(place, { ...request, url: urlOf() })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  expect(existsSync(fileOf())).toBe(false);
  expect(readdirSync(join(place.dataDir, 'tenants'))).toEqual([]);
}, 60_000);
