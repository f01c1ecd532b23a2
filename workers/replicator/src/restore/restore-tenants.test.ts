import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import { addLedgerNote, markOf, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { ReplicaWorld } from '../../test-support/replica-world.ts';
import { packKey } from '../format/entry.ts';
import { wakeTenant } from '../hibernate/wake-tenant.ts';
import { openReplica, type ReplicaAccess } from '../jobs/replica-access.ts';
import { CloseNotes } from '../ship/close-notes.ts';
import { snapshotTenant } from '../snapshot/snapshot-tenant.ts';
import { openStore } from '../store/open-store.ts';
import { verifyTenant } from '../verify/verify-tenant.ts';
import { type RestoreAllProgress, restoreAll } from './restore-all.ts';
import { restorePoint } from './restore-point.ts';
import { withScratchPoint } from './scratch-point.ts';

/* Against the built package: work on files is done by processes of it. */

const MASTER = randomBytes(32).toString('base64');
const OTHER_USER = 65534;
let folder: string;
let access: ReplicaAccess;
/** A directory that has the tenants, and one that lost them. */
let [home, other] = [placeIn(''), placeIn('')];

function placeIn(dataDir: string) {
  return { dataDir, group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 1_000 };
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-restores-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ['store', 'home/tenants', 'other/tenants'])
    mkdirSync(join(folder, name), { recursive: true });
  access = { url: pathToFileURL(join(folder, 'store')).href, masterKeys: [MASTER], keys: 'one' };
  [home, other] = [placeIn(join(folder, 'home')), placeIn(join(folder, 'other'))];
});

const limits = { timeoutMs: () => 60_000, memoryBytes: 1024 ** 3 };
const request = { redis: undefined, who: 'a test', limits, priority: 'usual', replace: false } as const;
const pathOf = (place: typeof home, tenant: string) => tenantFile(place.dataDir, tenant, place.dbFile);

/** A tenant's file as a broker keeps it, with a row in each commit; its commits are in packs. */
async function makeTenantFile(tenant: string, rows: number, next = 1): Promise<ReplicaWorld> {
  const store = await openStore(access.url);
  const file = pathOf(home, tenant);
  mkdirSync(dirname(file), { recursive: true });
  const world = new ReplicaWorld({ tenant, store, masterKeys: [MASTER], file });
  world.next = next;
  world.direct(db => void takeEpoch(db, 1));
  await world.ship('full');
  for (let row = 1; row <= rows; row++) {
    addRow(world, row);
    await world.ship('pages');
  }
  return world;
}

function addRow(world: ReplicaWorld, row: number): void {
  world.commit(db => {
    db.exec('CREATE TABLE IF NOT EXISTS t(a)');
    db.prepare('INSERT INTO t VALUES (?)').run(row);
    addLedgerNote(db, { id: row, jobId: `job-${row}`, commitSeq: world.pos + 1, committedAtMs: row });
  });
}

function rowsOf(path: string): number {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare<[], number>('SELECT count(*) FROM t').pluck().get()!;
  } finally {
    db.close();
  }
}

const besides = (place: typeof home, tenant: string) =>
  readdirSync(dirname(pathOf(place, tenant))).filter(name => !/^tenant\.db(-wal|-shm)?$/.test(name));

it('restores a point as a new tenant, or in the place of the present file', async () => {
  const world = await makeTenantFile('acme', 8);
  const point = { kind: 'commitSeq', commitSeq: 5 } as const;
  // Of a restore that was killed.
  mkdirSync(dirname(pathOf(home, 'copy')), { recursive: true });
  writeFileSync(`${pathOf(home, 'copy')}.restoring-999999999-1`, 'half');
  const made = await restorePoint(home, { ...request, access, tenant: 'acme', point, as: 'copy' });
  expect(made).toMatchObject({
    tenant: 'copy',
    from: 'acme',
    pos: 5,
    pointCommitSeq: 5,
    commitSeq: 6,
    replaced: null,
  });
  expect(rowsOf(pathOf(home, 'copy'))).toBe(4);
  expect(besides(home, 'copy')).toEqual([]);
  const again = restorePoint(home, { ...request, access, tenant: 'acme', point, as: 'copy', replace: true });
  await expect(again).rejects.toMatchObject({ code: 'TENANT_BUSY' });
  world.db.close();
  await expect(restorePoint(home, { ...request, access, tenant: 'acme', point })).rejects.toMatchObject({
    code: 'TENANT_BUSY',
  });
  const put = await restorePoint(home, { ...request, access, tenant: 'acme', point, replace: true });
  // Numbers go on from the file that was replaced.
  expect(put).toMatchObject({ pointCommitSeq: 5, replacedCommitSeq: 9, commitSeq: 10 });
  expect(rowsOf(pathOf(home, 'acme'))).toBe(4);
  expect(rowsOf(put.replaced!)).toBe(8);
}, 60_000);

it('restores a point to a file beside, which is gone afterwards, however the work on it ends', async () => {
  await makeTenantFile('acme', 8);
  const point = { kind: 'commitSeq', commitSeq: 5 } as const;
  const look = { access, tenant: 'acme', point, limits };
  let path: string | undefined;
  const rows = await withScratchPoint(home, look, async file => {
    expect(file).toMatchObject({ pos: 5, commitSeq: 5 });
    path = file.path;
    return rowsOf(path);
  });
  expect(rows).toBe(4);
  const scratch = dirname(path!);
  expect(scratch.startsWith(join(home.dataDir, 'tenants'))).toBe(false);
  // A process that was killed left this.
  mkdirSync(scratch, { recursive: true });
  writeFileSync(join(scratch, 'acme.db.restoring-999999999-1'), 'half');
  await expect(
    withScratchPoint(home, look, () => Promise.reject(new Error('the work failed'))),
  ).rejects.toThrow('the work failed');
  expect(readdirSync(scratch)).toEqual([]);
  const missing = { ...look, point: { kind: 'commitSeq', commitSeq: 99 } } as const;
  await expect(withScratchPoint(home, missing, async () => {})).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
  });
  expect(existsSync(scratch) ? readdirSync(scratch) : []).toEqual([]);
}, 60_000);

it('changes nothing where a point is not there, or the key is another', async () => {
  await makeTenantFile('acme', 2);
  const point = { kind: 'commitSeq', commitSeq: 99 } as const;
  const attempt = restorePoint(other, { ...request, access, tenant: 'acme', point });
  await expect(attempt).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
    details: { before: { commitSeq: 3 } },
  });
  const wrong = { ...access, masterKeys: [randomBytes(32).toString('base64')] };
  const newest = { kind: 'newest' } as const;
  const locked = restorePoint(other, { ...request, access: wrong, tenant: 'acme', point: newest });
  await expect(locked).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  expect(readdirSync(join(other.dataDir, 'tenants'))).toEqual([]);
}, 60_000);

it('restores all tenants that a directory lacks, and begins again with the rest', async () => {
  let next = 1;
  for (const tenant of ['one', 'two', 'three']) {
    const world = await makeTenantFile(tenant, 3, next);
    next = world.next;
    if (tenant === 'three')
      await world.pack([world.entry({ tenant: 'gone', kind: 'deleted', min: 1, max: 1 })]);
  }
  writeFileSync(
    join(folder, 'store', 'leader.json'),
    JSON.stringify({ format: 1, term: 1, dataDirId: 'home-id' }),
  );
  // As where a service has a user of its own, and root restores.
  const tenants = join(other.dataDir, 'tenants');
  if (process.getuid?.() === 0) chownSync(tenants, OTHER_USER, OTHER_USER);
  // 'one' is there; of 'two' a process that was killed left a draft; a pack of 'three' is damaged.
  const present = pathOf(other, 'one');
  const lost = `${pathOf(other, 'two')}.restoring-999999999-1`;
  for (const path of [present, lost]) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, 'as it was');
  }
  const damaged = join(folder, 'store', packKey({ level: 0, number: 10 }));
  const pack = readFileSync(damaged);
  const spoil = () => {
    const spoilt = Buffer.from(pack);
    spoilt[20]! ^= 1;
    writeFileSync(damaged, spoilt);
  };
  spoil();
  const seen: RestoreAllProgress[] = [];
  const all = {
    access,
    redisUrl: undefined,
    who: 'a test',
    limits,
    onProgress: (step: RestoreAllProgress) => seen.push(step),
  };
  const first = await restoreAll(other, all);
  expect(first).toMatchObject({
    restored: [{ tenant: 'two', commitSeq: 4, pos: 4 }],
    present: ['one'],
    failed: [{ tenant: 'three', error: { code: 'REPLICA_REFUSED' } }],
  });
  expect(seen.map(({ done, total, tenant }) => [done, total, tenant])).toEqual([
    [0, 2, undefined],
    [1, 2, 'three'],
    [2, 2, 'two'],
  ]);
  // Before it is opened: what is written next goes on from there.
  const mark = markOf(pathOf(other, 'two'));
  expect(new CloseNotes(other.dataDir).read('two')).toMatchObject({ pos: 4, mark });
  expect(rowsOf(pathOf(other, 'two'))).toBe(3);
  expect(besides(other, 'two')).toEqual([]);
  expect(readFileSync(present, 'utf8')).toBe('as it was');
  expect(existsSync(join(other.dataDir, 'replica', 'source.json'))).toBe(false);

  writeFileSync(damaged, pack);
  const second = await restoreAll(other, all);
  expect(second).toMatchObject({
    restored: [{ tenant: 'three' }],
    present: ['one', 'two'],
    failed: [],
    warnings: [],
  });
  const source = JSON.parse(readFileSync(join(other.dataDir, 'replica', 'source.json'), 'utf8'));
  expect(source).toEqual({ url: access.url, dataDirId: 'home-id' });
  expect(readdirSync(tenants).sort()).toEqual(['one', 'three', 'two']);
  const replica = join(other.dataDir, 'replica');
  const notes = readdirSync(replica, { recursive: true }).map(name => join(replica, String(name)));
  expect(notes).toContain(join(replica, 'closed', 'three.json'));
  for (const path of [pathOf(other, 'three'), replica, ...notes])
    expect([path, statSync(path).uid]).toEqual([path, statSync(tenants).uid]);
}, 60_000);

it('names tenants that a broker still writes to while they are restored, and does not let this directory follow', async () => {
  const world = await makeTenantFile('acme', 3);
  writeFileSync(join(folder, 'store', 'leader.json'), JSON.stringify({ format: 1, dataDirId: 'home-id' }));
  const late = join(folder, 'store', packKey({ level: 0, number: world.next }));
  addRow(world, 4);
  await world.ship('pages');
  renameSync(late, `${late}.late`);
  const report = await restoreAll(other, {
    ...{ access, redisUrl: undefined, who: 'a test', limits },
    onProgress: ({ done }) => {
      if (done === 1) renameSync(`${late}.late`, late);
    },
  });
  expect(report).toMatchObject({
    restored: [{ tenant: 'acme', pos: 4 }],
    failed: [{ tenant: 'acme', error: { code: 'REPLICA_FENCED' } }],
  });
  expect(existsSync(join(other.dataDir, 'replica', 'source.json'))).toBe(false);
  // Nor does a second run take it for present.
  const again = { access, redisUrl: undefined, who: 'a test', limits };
  const second = await restoreAll(other, again);
  expect(second).toMatchObject({
    present: [],
    failed: [{ tenant: 'acme', error: { code: 'REPLICA_FENCED' } }],
  });
  expect(second.failed[0]!.error.message).toContain(`remove ${dirname(pathOf(other, 'acme'))}`);
  expect(existsSync(join(other.dataDir, 'replica', 'source.json'))).toBe(false);
  rmSync(dirname(pathOf(other, 'acme')), { recursive: true });
  expect(await restoreAll(other, again)).toMatchObject({
    restored: [{ tenant: 'acme', pos: 5 }],
    failed: [],
  });
  expect(existsSync(join(other.dataDir, 'replica', 'source.json'))).toBe(true);
}, 60_000);

it('takes a tenant that was written to here since it was restored for present', async () => {
  const world = await makeTenantFile('acme', 3);
  writeFileSync(join(folder, 'store', 'leader.json'), JSON.stringify({ format: 1, dataDirId: 'home-id' }));
  const all = { access, redisUrl: undefined, who: 'a test', limits };
  await restoreAll(other, all);
  const db = new Database(pathOf(other, 'acme'));
  onTestFinished(() => void db.close());
  db.exec('INSERT INTO t VALUES (4)');
  // The broker of this directory has stored it.
  addRow(world, 4);
  await world.ship('pages');
  expect(await restoreAll(other, all)).toMatchObject({ restored: [], present: ['acme'], failed: [] });
}, 60_000);

it('notes all tenants as hibernated, without a request for a file, and each comes as it was', async () => {
  const world = await makeTenantFile('acme', 3);
  writeFileSync(join(folder, 'store', 'leader.json'), JSON.stringify({ format: 1, dataDirId: 'home-id' }));
  if (process.getuid?.() === 0) chownSync(join(other.dataDir, 'tenants'), OTHER_USER, OTHER_USER);
  const all = { access, redisUrl: undefined, who: 'a test', limits, hibernated: true };
  const bytes = world.bytes().length;
  expect(await restoreAll(other, all)).toMatchObject({
    ...{ restored: [], present: [], failed: [], warnings: [] },
    hibernated: [{ tenant: 'acme', pos: world.pos, bytes }],
  });
  expect(readdirSync(join(other.dataDir, 'tenants'))).toEqual([]);
  const notes = join(other.dataDir, 'hibernated');
  expect(statSync(notes).uid).toBe(statSync(join(other.dataDir, 'tenants')).uid);
  expect(existsSync(join(other.dataDir, 'replica', 'source.json'))).toBe(true);
  expect(await restoreAll(other, all)).toMatchObject({ hibernated: [], present: ['acme'] });
  const replica = await openReplica(access);
  const woken = await wakeTenant(replica, other, { tenant: 'acme', storedPos: world.pos });
  await replica.store.close();
  // By the note alone.
  expect(woken).toMatchObject({ bytes, requests: 4 });
  expect(rowsOf(pathOf(other, 'acme'))).toBe(3);
}, 60_000);

it('warns of a pack that cannot be read, and restores what was before it', async () => {
  const world = await makeTenantFile('acme', 3);
  const newest = packKey({ level: 0, number: world.next - 1 });
  const path = join(folder, 'store', newest);
  writeFileSync(path, readFileSync(path).subarray(0, -5));
  const report = await restoreAll(other, { access, redisUrl: undefined, who: 'a test', limits });
  expect(report).toMatchObject({ restored: [{ tenant: 'acme', pos: world.pos - 1 }], failed: [] });
  expect(report.warnings).toEqual([expect.stringContaining(newest)]);
}, 60_000);

it('reads a file that is in use into a full segment', async () => {
  const world = await makeTenantFile('acme', 5);
  addRow(world, 6);
  const segment = await snapshotTenant({ place: home, access, tenant: 'acme', pos: world.pos, limits });
  expect(segment.entry).toMatchObject({
    kind: 'full',
    min: 7,
    lastSeq: 7,
    epoch: 1,
    end: { frame: expect.any(Number) },
  });
  expect(segment.entry.end.frame).toBeGreaterThan(0);
  await world.pack([segment]);
  const point = { kind: 'newest' } as const;
  await restorePoint(other, { ...request, access, tenant: 'acme', point });
  expect(rowsOf(pathOf(other, 'acme'))).toBe(6);
  const missing = snapshotTenant({ place: home, access, tenant: 'nobody', pos: 1, limits });
  await expect(missing).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
}, 60_000);

it('removes what a killed rehearsal of another tenant left', async () => {
  await makeTenantFile('acme', 2);
  const scratch = join(home.dataDir, 'replica', 'scratch');
  mkdirSync(scratch, { recursive: true });
  // No process has such an id.
  writeFileSync(join(scratch, 'rehearsal.db.restoring-99999999-1'), 'half');
  expect(await verifyTenant({ place: home, access, tenant: 'acme', limits })).toMatchObject({ ok: true });
  expect(readdirSync(scratch)).toEqual([]);
}, 60_000);

it('rehearses a restore, and finds what is another than in the file, damaged, or not there', async () => {
  const world = await makeTenantFile('acme', 5);
  const rehearsal = { place: home, access, tenant: 'acme', limits, waitMs: 0 };
  expect(await verifyTenant(rehearsal)).toMatchObject({
    ok: true,
    problems: [],
    commitSeq: 6,
    sameAsFile: true,
  });

  // A change that no commit of ours made.
  world.db.exec('UPDATE t SET a = 100 WHERE a = 1');
  expect(await verifyTenant(rehearsal)).toMatchObject({ ok: false, sameAsFile: false });
  const point = { kind: 'pos', pos: 3 } as const;
  expect(await verifyTenant({ ...rehearsal, point })).toMatchObject({
    ok: true,
    pos: 3,
    sameAsFile: undefined,
  });

  // The file is ahead of the store.
  addRow(world, 6);
  expect(await verifyTenant(rehearsal)).toMatchObject({
    ok: false,
    pos: 0,
    problems: [expect.stringMatching(/no commit 7.*Nearest: commit 6/)],
  });
  const damaged = join(folder, 'store', packKey({ level: 0, number: 2 }));
  const pack = readFileSync(damaged);
  pack[20]! ^= 1;
  writeFileSync(damaged, pack);
  expect(await verifyTenant({ ...rehearsal, point })).toMatchObject({
    ok: false,
    problems: [expect.stringMatching(/changed in the store/)],
  });
  // Its folder stays: another process may be about to make a file there.
  expect(readdirSync(join(home.dataDir, 'replica'), { recursive: true })).toEqual(['scratch']);
}, 60_000);
