import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { numberCopy } from '../restore/file-numbers.ts';
import { type LoadJob, type StagedLoad, stageLoad } from './stage-load.ts';

const place = { dataDir: '/nowhere', group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 50 };
let folder: string;
let draft: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'onewriter-stage-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  [draft, file] = [join(folder, 'draft'), join(folder, 'tenant.db')];
});

/** @param job a dump for a tenant that is not there, but for what it says */
function stage(job: Partial<LoadJob> = {}): Promise<StagedLoad> {
  const usual = {
    kind: 'load',
    source: join(folder, 'dump.sql'),
    format: 'sql',
    draft,
    replace: false,
  } as const;
  const rest = { base: undefined, present: undefined, idempotencyKey: undefined };
  return stageLoad(place, { ...usual, ...rest, ...job }, () => {});
}

function all(path: string, sql: string): unknown[] {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare(sql).raw().all();
  } finally {
    db.close();
  }
}

it('is committed once under a key, and refuses another file under it', async () => {
  const source = join(folder, 'dump.sql');
  writeFileSync(source, 'CREATE TABLE t(a); INSERT INTO t VALUES(1);');
  const { numbers, loadKey } = await stage({ draft: file, idempotencyKey: 'k' });
  const number = { kind: 'number', draft: file, numbers, old: null, keepsLedger: false, epoch: 1 } as const;
  const { commitSeq } = numberCopy(place, 'acme', { ...number, loadKey });
  for (const again of [{ base: file }, { replace: true }, { format: 'sqlite' }] as const) {
    const staged = await stage({ present: file, idempotencyKey: 'k', ...again });
    expect(staged).toMatchObject({ before: commitSeq, statements: 2, rows: 1, tables: 1 });
    expect(existsSync(draft)).toBe(false);
  }
  writeFileSync(source, 'INSERT INTO t VALUES(2);');
  await expect(stage({ present: file, base: file, idempotencyKey: 'k' })).rejects.toMatchObject({
    code: 'IDEMPOTENCY_KEY_REUSED',
  });
  await stage({ present: file, base: file, idempotencyKey: 'another' });
  expect(all(draft, 'SELECT a FROM t')).toEqual([[1], [2]]);
});
