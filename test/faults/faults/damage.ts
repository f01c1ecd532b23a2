import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { copyFile, mkdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { DEFAULT_DB_FILE, groupKeys, tenantFile, tenantsDir, withReservedNames } from '@onewriter/protocol';
import { pauseTenant, resumeTenant } from '@onewriter/tenants';
import { waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { excuse, excused } from '../excused-spans.ts';
import type { Fault } from '../fault.ts';
import { FaultFailure } from '../fault-failure.ts';
import {
  assertReleased,
  assertWhole,
  awaitFinding,
  changeBetweenCommits,
  findingOf,
  newestSeq,
  readNewestSeq,
} from '../file-changes.ts';
import { monotonicMs } from '../journal.ts';
import { RECOVERY_MS, type Rig } from '../rig.ts';

/** What was accepted so long before may still have been in the queue. */
const SENT_BEFORE_MS = 2_000;

/** A file is damaged: its tenant is parked and untouched, the others continue, and it is written again when it is whole. */
export const corruptFile: Fault = {
  name: 'corrupt-file',
  summary:
    "The first page of a tenant's file is overwritten: parked, never repaired, others untouched; then restored.",
  rig: {},
  judgeBy: { excusedCodes: ['DATABASE_CORRUPT'] },
  rounds: 6,
  roundsPerRig: 3,
  async round({ rig, random, say }) {
    const [broker] = rig.brokers;
    const tenant = random.pick(rig.tenants);
    const others = rig.tenants.filter(other => other !== tenant);
    await broker!.waitUntilReady();
    // A clean stop leaves all of it in the file; a start opens it.
    broker!.hold(true);
    broker!.signal('SIGTERM');
    await waitFor(() => broker!.current === undefined, {
      timeoutMs: RECOVERY_MS,
      what: 'the end of the broker',
    });
    const file = tenantFile(rig.dataDir, tenant);
    // Readers may keep a log that has the page: then no reader reaches the damaged one.
    cutLog(file);
    const whole = readFileSync(file).subarray(0, 4_096);
    overwrite(file, Buffer.alloc(4_096, 0xa5));
    const before = hashOf(file);
    broker!.hold(false);
    await rig.awaitRecovery(others);
    const record = await waitFor(() => rig.direct.hget(groupKeys('default').parked, tenant), {
      timeoutMs: RECOVERY_MS,
      what: `${tenant} to be parked`,
    });
    await pause(random.between(0, 500));
    if (hashOf(file) !== before) throw new FaultFailure(`The damaged file of ${tenant} was changed.`);
    overwrite(file, whole);
    const recoveredMs = await rig.awaitRecovery();
    await assertReleased(rig, tenant);
    say(
      `${tenant} parked with ${(JSON.parse(record) as { code: string }).code}, back after ${Math.round(recoveredMs)} ms`,
    );
  },
};

/** A tenant's folder goes away under the broker, and comes back. */
export const movedFile: Fault = {
  name: 'moved-file',
  summary:
    "A tenant's folder is moved away under load, and back: no write is lost in a file that has no name.",
  rig: {},
  // A new, empty file may have taken its place for a while: it has no tables.
  judgeBy: { excusedCodes: ['SQL_ERROR', 'TENANT_NOT_FOUND'] },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say, judgeBy }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const from = monotonicMs();
    const folder = `${tenantsDir(rig.dataDir)}/${tenant}`;
    await rename(folder, `${folder}.away`);
    const lastsMs = random.between(20, 1_500);
    await pause(lastsMs);
    // A person puts the right one back in place of whatever is there.
    await rename(folder, `${folder}.wrong`).catch((error: { code?: string }) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rename(`${folder}.away`, folder);
    const recoveredMs = await rig.awaitRecovery();
    // What failed in the wrong file is in the ledger of the wrong file.
    excuse(rig, { from: from - SENT_BEFORE_MS, to: monotonicMs() });
    judgeBy({ acceptedMayBeLost: excused(rig) });
    await rm(`${folder}.wrong`, { recursive: true, force: true });
    say(`${tenant} was away for ${lastsMs} ms, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** A tenant's file is replaced by an equal one: the old one has no name any more, and must get no commit. */
export const replacedFile: Fault = {
  name: 'replaced-file',
  summary:
    "A tenant's open file is replaced by a copy of it between two commits: nothing is committed to the old one, the tenant is parked until a person resumes it.",
  rig: {},
  // A reader looks every half second whether its file is still the one that the path leads to.
  judgeBy: { staleReadsAllowed: true },
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const folder = `${tenantsDir(rig.dataDir)}/${tenant}`;
    // In the middle of a transaction it would be unknown which of the two files it belongs to.
    await changeBetweenCommits(rig, random, `${folder}/${DEFAULT_DB_FILE}`, async () => {
      await rename(folder, `${folder}.old`);
      await mkdir(folder);
      for (const name of [DEFAULT_DB_FILE, `${DEFAULT_DB_FILE}-wal`]) {
        await copyFile(`${folder}.old/${name}`, `${folder}/${name}`);
      }
    });
    await awaitFinding(rig, tenant, 'It is whole at');
    await pause(random.between(0, 500));
    await pauseTenant(rig.direct, 'default', tenant, 'faults');
    await resumeTenant(rig.direct, 'default', tenant);
    const recoveredMs = await rig.awaitRecovery();
    await rm(`${folder}.old`, { recursive: true });
    say(`${tenant}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** What is done to the files of a tenant in use, each of which once mixed a log into a file that it is not of. */
const CHANGES: Readonly<Record<string, (file: string, other: string) => Promise<void>>> = {
  'mv over the file': (file, other) => rename(other, file),
  'cp over the file': async (file, other) => writeFile(file, await readFile(other)),
  'rm of the log': file => rm(`${file}-wal`),
  'mv over the log': async (file, other) => {
    await rename(`${other}-wal`, `${file}-wal`);
  },
  'the log cut to nothing': file => truncate(`${file}-wal`, 0),
  'the log cut to a part': async file =>
    truncate(`${file}-wal`, Math.floor((await stat(`${file}-wal`)).size / 2)),
  'cp over the log': async (file, other) => writeFile(`${file}-wal`, await readFile(`${other}-wal`)),
  'an older copy over the log': async file => writeFile(`${file}-wal`, await readFile(`${file}.older-wal`)),
};

/** Files change under the broker beyond repair: what was acknowledged is in what the broker saved. */
export const changedFile: Fault = {
  name: 'changed-file',
  summary:
    "Another file is put in a tenant's place (mv, cp over it), its log is deleted, replaced, cut or written over: parked, nothing mixed, all that was committed saved; then the saved copy is put back.",
  rig: {},
  // Between the change and its end a reader sees another file, and none.
  judgeBy: { staleReadsAllowed: true, excusedCodes: ['SQL_ERROR', 'DATABASE_CORRUPT', 'TENANT_NOT_FOUND'] },
  rounds: 12,
  roundsPerRig: 4,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const file = tenantFile(rig.dataDir, tenant);
    const [what, change] = random.pick(Object.entries(CHANGES));
    const other = `${file}.other`;
    await copyFile(`${file}-wal`, `${file}.older-wal`);
    await pause(random.between(20, 200));
    let seqThen = Number.POSITIVE_INFINITY;
    await changeBetweenCommits(rig, random, file, async () => {
      // After `cp` only the log could be saved, and of a cut log only a part: the oracle needs what was there before, too.
      await copyFile(file, `${file}.before`);
      await copyFile(`${file}-wal`, `${file}.before-wal`);
      makeOther(other);
      // A log may be cut, or written over, where nothing of it counts any more, or with what was there.
      if (what.includes('the log')) seqThen = readNewestSeq(file);
      await change(file, other);
    });
    const finding = await awaitFindingOrCommits(rig, tenant, file, seqThen);
    if (finding === undefined) {
      const recoveredMs = await rig.awaitRecovery();
      await removeCopies(file);
      say(`${what} of ${tenant}, which harmed nothing; written after ${Math.round(recoveredMs)} ms`);
      return;
    }
    const [, saved] = / saved as ([^;\s]+)[;.] /.exec(finding) ?? [];
    if (saved === undefined) throw new FaultFailure(`The finding names no copy: ${finding}`);
    if (what.endsWith('the file')) assertWhole(file);
    await pauseTenant(rig.direct, 'default', tenant, 'faults');
    for (const suffix of ['-wal', '-shm']) await rm(`${file}${suffix}`, { force: true });
    const isPart = finding.includes('are lost');
    if (isPart) {
      assertWhole(saved);
      await rename(`${file}.before-wal`, `${file}-wal`);
      await rename(`${file}.before`, file);
    } else if (saved.endsWith('-wal')) {
      await rename(saved, `${file}-wal`);
      await rename(`${file}.before`, file);
    } else await rename(saved, file);
    await resumeTenant(rig.direct, 'default', tenant);
    const recoveredMs = await rig.awaitRecovery();
    await removeCopies(file);
    say(`${what} of ${tenant}${isPart ? ', saved in part' : ''}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/** More commits than there may be before the log is looked at. */
const COMMITS_OF_A_BATCH = 100;

/** @returns the finding; undefined where the tenant is written on */
async function awaitFindingOrCommits(
  rig: Rig,
  tenant: string,
  file: string,
  seqThen: number,
): Promise<string | undefined> {
  const found = await waitFor(
    async () => {
      const message = await findingOf(rig, tenant);
      if (message.includes('saved as')) return { message };
      return message === '' && hasCommits(file, seqThen + COMMITS_OF_A_BATCH) ? {} : undefined;
    },
    { timeoutMs: RECOVERY_MS, what: `${tenant} to be parked with a finding` },
  );
  return (found as { message?: string }).message;
}

function hasCommits(file: string, seq: number): boolean {
  if (seq === Number.POSITIVE_INFINITY) return false;
  try {
    return readNewestSeq(file) > seq;
  } catch {
    return false; // it is harmed
  }
}

async function removeCopies(file: string): Promise<void> {
  for (const suffix of ['.other', '.other-wal', '.other-shm', '.before', '.before-wal', '.older-wal']) {
    await rm(`${file}${suffix}`, { force: true });
  }
}

/** The index of a log goes away under the broker and readers: no command is needed. */
export const deletedIndex: Fault = {
  name: 'deleted-index',
  summary:
    'The -shm file of a tenant in use is deleted or replaced: no commit is lost or hidden, from old readers or new ones, and the tenant can be paused and resumed.',
  rig: {},
  rounds: 10,
  roundsPerRig: 5,
  async round({ rig, random, say }) {
    await pause(random.between(100, 500));
    const tenant = random.pick(rig.tenants);
    const file = tenantFile(rig.dataDir, tenant);
    const replaces = random.oneIn(3);
    await changeBetweenCommits(rig, random, file, async () => {
      if (replaces) {
        await copyFile(`${file}-shm`, `${file}-shm.new`);
        await rename(`${file}-shm.new`, `${file}-shm`);
      } else await rm(`${file}-shm`);
    });
    // Makes an index of its own where the broker was not faster.
    const seenSeq = readNewestSeq(file);
    const recoveredMs = await rig.awaitRecovery();
    const seq = readNewestSeq(file);
    if (seq <= seenSeq) throw new FaultFailure(`A new reader of ${tenant} sees no commit after ${seenSeq}.`);
    if (random.oneIn(2)) {
      await pauseTenant(rig.direct, 'default', tenant, 'faults');
      await resumeTenant(rig.direct, 'default', tenant);
      await rig.awaitRecovery();
    }
    assertWhole(file);
    const record = await rig.direct.hget(groupKeys('default').parked, tenant);
    if (record !== null) throw new FaultFailure(`${tenant} is parked: ${record}`);
    say(`${replaces ? 'replaced' : 'deleted'} in ${tenant}, written after ${Math.round(recoveredMs)} ms`);
  },
};

/** Another program writes to a file in use: nothing is committed after it before a person has looked. */
export const otherWriter: Fault = {
  name: 'other-writer',
  summary:
    "Another process commits to a tenant's file through SQLite: the broker commits nothing more, parks the tenant and says what to do.",
  rig: {},
  rounds: 12,
  roundsPerRig: 4,
  async round({ rig, random, say }) {
    // Where commits are counted is looked up a moment after a file was opened.
    await pause(random.between(500, 900));
    const tenant = random.pick(rig.tenants);
    const file = tenantFile(rig.dataDir, tenant);
    const rows = random.pick([1, 3, 2_000]);
    const how = random.pick([
      'as it is',
      'with the log cut before',
      'with the log cut after it',
      'without the ledger',
    ] as const);
    let seenSeq = 0;
    await changeBetweenCommits(rig, random, file, async () => {
      for (const suffix of ['', '-wal']) await copyFile(`${file}${suffix}`, `${file}.before${suffix}`);
      seenSeq = writeElsewhere(file, rows, how);
    });
    await awaitFinding(rig, tenant, 'Another process wrote');
    await pause(random.between(0, 500));
    const seq = how === 'without the ledger' ? seenSeq : readNewestSeq(file);
    if (seq !== seenSeq) {
      throw new FaultFailure(
        `Another process wrote to ${tenant} at commit ${seenSeq}, and the broker continued to ${seq}.`,
      );
    }
    assertWhole(file);
    await pauseTenant(rig.direct, 'default', tenant, 'faults');
    if (how === 'without the ledger') {
      await rm(`${file}-shm`, { force: true });
      for (const suffix of ['-wal', '']) await rename(`${file}.before${suffix}`, `${file}${suffix}`);
    }
    await resumeTenant(rig.direct, 'default', tenant);
    const recoveredMs = await rig.awaitRecovery();
    await assertReleased(rig, tenant);
    for (const suffix of ['', '-wal']) await rm(`${file}.before${suffix}`, { force: true });
    say(`${rows} rows in ${tenant}, ${how}, back after ${Math.round(recoveredMs)} ms`);
  },
};

/**
 * Commits to a table of its own: the oracle knows nothing of it.
 * @param how whether the log is written back and cut, and whether the ledger is removed
 * @returns the newest commit_seq in the file
 */
function writeElsewhere(file: string, rows: number, how: string): number {
  const db = new Database(file, { fileMustExist: true, timeout: 0 });
  try {
    if (how.endsWith('before')) db.pragma('wal_checkpoint(TRUNCATE)');
    const seq = db
      .transaction(() => {
        db.exec('CREATE TABLE IF NOT EXISTS elsewhere(a)');
        const insert = db.prepare('INSERT INTO elsewhere VALUES (randomblob(500))');
        for (let row = 0; row < rows; row++) insert.run();
        return newestSeq(db);
      })
      .immediate();
    if (how.endsWith('ledger')) dropLedger(db);
    if (how.endsWith('after it')) db.pragma('wal_checkpoint(TRUNCATE)');
    return seq;
  } finally {
    db.close();
  }
}

/** SQLite itself refuses it: a process that does so changes the schema by hand. */
function dropLedger(db: Database.Database): void {
  withReservedNames(db, () =>
    db.exec(`UPDATE sqlite_schema SET name = 'dropped', tbl_name = 'dropped', sql = replace(sql, name, 'dropped')
      WHERE name = 'sqlite_onewriter_ledger'`),
  );
  db.exec('DROP TABLE dropped');
}

/** A database with a log, of another program. */
function makeOther(path: string): void {
  const db = new Database(path);
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE other(a)');
  db.exec('INSERT INTO other VALUES (zeroblob(500000))');
  const log = readFileSync(`${path}-wal`);
  db.close();
  const descriptor = openSync(`${path}-wal`, 'w');
  writeSync(descriptor, log);
  closeSync(descriptor);
}

function overwrite(path: string, bytes: Buffer): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
}

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function cutLog(file: string): void {
  const db = new Database(file);
  try {
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}
