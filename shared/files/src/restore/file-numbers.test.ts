import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { numberCopy, readNumbers } from './file-numbers.ts';

let folder: string;
let draft: string;
let old: string;

const place = { dataDir: '/nowhere', group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 50 };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-numbers-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  [draft, old] = [join(folder, 'draft'), join(folder, 'old.db')];
});

/** A database whose broker had `epoch`, with one commit of this number, in this row of the ledger. */
function create(path: string, epoch: number, commitSeq: number, id: number): void {
  const db = new Database(path);
  takeEpoch(db, epoch);
  db.transaction(() => addLedgerNote(db, { id, jobId: `job-${id}`, commitSeq, committedAtMs: 0 }))();
  db.close();
}

function numbersOf(path: string) {
  const db = new Database(path, { readonly: true });
  try {
    return readNumbers(db);
  } finally {
    db.close();
  }
}

const number = (from: { old?: string; epoch?: number } = {}) =>
  numberCopy(place, 'acme', {
    kind: 'number',
    keepsLedger: false,
    draft,
    numbers: numbersOf(draft),
    old: from.old ?? null,
    epoch: from.epoch ?? 0,
  });

it('is a commit after the newest of both files, under the newest epoch', () => {
  create(draft, 9, 30, 400);
  create(old, 5, 70, 200);
  expect(number({ old, epoch: 7 })).toEqual({
    old: { epoch: 5, commitSeq: 70, ledgerId: 200 },
    commitSeq: 71,
  });
  expect(numbersOf(draft)).toEqual({ epoch: 9, commitSeq: 71, ledgerId: 401 });
  expect(numbersOf(old)).toEqual({ epoch: 5, commitSeq: 70, ledgerId: 200 });
});

it('does not take over an epoch that no broker had', () => {
  create(draft, 9, 30, 400);
  create(old, 2 ** 53 - 1, 70, 200);
  expect(number({ old, epoch: 7 }).commitSeq).toBe(71);
  expect(numbersOf(draft).epoch).toBe(9);
});

it('takes over the ledger and the keys of the file that it replaces, where it is asked to', () => {
  create(old, 5, 70, 200);
  const former = new Database(old);
  former.exec("INSERT INTO sqlite_onewriter_keys VALUES ('once', 'f', 'job-200', 0, 0, '[]')");
  former.close();
  new Database(draft).exec('CREATE TABLE t(a)').close();
  const job = { kind: 'number', draft, numbers: numbersOf(draft), old, keepsLedger: true, epoch: 0 } as const;
  expect(numberCopy(place, 'acme', job)).toMatchObject({ commitSeq: 71 });
  const db = new Database(draft, { readonly: true });
  const read = (sql: string) => db.prepare(sql).pluck().all();
  expect(read('SELECT id FROM sqlite_onewriter_ledger ORDER BY id')).toEqual([200, 201]);
  expect(read('SELECT key FROM sqlite_onewriter_keys')).toEqual(['once']);
  expect(read('SELECT epoch FROM sqlite_onewriter_state')).toEqual([5]);
  db.close();
});

it('continues the numbers of a copy that replaces no file, and makes the tables of one that has none', () => {
  new Database(draft).exec('CREATE TABLE t(a)').close();
  expect(number({ epoch: 3 })).toEqual({ old: null, commitSeq: 1 });
  expect(numbersOf(draft)).toEqual({ epoch: 3, commitSeq: 1, ledgerId: 1 });
});

it('leaps where the old file cannot be read', () => {
  create(draft, 1, 30, 400);
  writeFileSync(old, 'x'.repeat(5_000));
  const { old: found, commitSeq } = number({ old, epoch: 2 });
  expect([found, commitSeq > 1_000_000_000_000]).toEqual([null, true]);
});

it('refuses a file that another process writes, and one that is no database', () => {
  create(draft, 1, 30, 400);
  create(old, 5, 70, 200);
  const writer = new Database(old);
  writer.exec('BEGIN IMMEDIATE');
  expect(() => number({ old })).toThrow(expect.objectContaining({ code: 'TENANT_BUSY' }));
  writer.close();
  expect(numbersOf(draft)).toMatchObject({ commitSeq: 30 });
  const numbers = numbersOf(draft);
  writeFileSync(draft, 'x'.repeat(5_000));
  expect(() =>
    numberCopy(place, 'acme', { kind: 'number', draft, numbers, old: null, keepsLedger: false, epoch: 1 }),
  ).toThrow(expect.objectContaining({ code: 'DATABASE_CORRUPT' }));
});
