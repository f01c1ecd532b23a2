import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createDatabaseFile, realDatabasePath, tenantFile } from '@onewriter/protocol';
import { temporaryDirectory } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { startOther } from './other-process.ts';

/*
 * A process that changes a tenant's file is killed before each of its steps. The path leads to the whole old file, or to the new one, or
 * nowhere. When the change is settled, no other name is left, and who has the old file open notices, but only where it is gone.
 */

const CHANGER = join(import.meta.dirname, 'killed-changer.js');

it.each([
  ['kept', 'plain'],
  ['kept', 'linked'],
  ['not kept', 'plain'],
  ['not kept', 'linked'],
  ['taken away', 'plain'],
  ['taken away', 'linked'],
])(
  'is whole at each step: the old file is %s, and was %s',
  async (kind, form) => {
    const other = startOther();
    const ends = new Set<unknown>();
    let step = 1;
    for (; ; step++) {
      await using directory = await temporaryDirectory('cut-off');
      const { path, handle } = prepare(directory.path, form === 'linked');
      try {
        const isDone = await change(kind, directory.path, path, step);
        const value = await other.ask({ what: 'read', path });
        expect(value, `step ${step}`).toBeOneOf(kind === 'taken away' ? ['old', null] : ['old', 'new']);
        await other.ask({ what: 'settle', path });
        expect(await other.ask({ what: 'read', path }), `step ${step}`).toBe(value);
        expectNothingLeft(path, step);
        const kept = `${path}.replaced-1`;
        expect(existsSync(kept), `step ${step}`).toBe(kind === 'kept' && value === 'new');
        if (existsSync(kept))
          expect(await other.ask({ what: 'read', path: kept }), `step ${step}`).toBe('old');
        const read = () => handle.prepare('SELECT value FROM t').pluck().get();
        if (value === 'old') expect(read(), `step ${step}`).toBe('old');
        else expect(read, `step ${step}`).toThrow(/no such table/);
        ends.add(value);
        if (isDone) break;
      } finally {
        handle.close();
      }
    }
    // Both before and after the moment at which it is done.
    expect(ends.size).toBe(2);
    expect(step).toBeGreaterThan(20);
  },
  180_000,
);

/** The tenant's file, a file that is to take its place, and a connection that has read the first. */
function prepare(dataDir: string, isLinked: boolean): { path: string; handle: Database.Database } {
  const path = tenantFile(dataDir, 'acme');
  mkdirSync(dirname(path), { recursive: true });
  createDatabaseFile(path, isLinked);
  fill(`${path}.fresh`, 'new').close();
  const handle = fill(path, 'old');
  return { path, handle };
}

function fill(path: string, value: string): Database.Database {
  const db = new Database(path);
  db.pragma('journal_mode = WAL');
  db.exec(
    `CREATE TABLE t(value); CREATE TABLE u(value); INSERT INTO t VALUES ('${value}'); INSERT INTO u SELECT * FROM t`,
  );
  return db;
}

/** @returns whether it ended before the step */
async function change(kind: string, dataDir: string, path: string, step: number): Promise<boolean> {
  const changer = spawn(process.execPath, [CHANGER, kind, dataDir, path, String(step)], { stdio: 'inherit' });
  const [code, signal] = (await once(changer, 'exit')) as [number | null, NodeJS.Signals | null];
  expect([code, signal]).toEqual(signal === null ? [0, null] : [null, 'SIGKILL']);
  return signal === null;
}

function expectNothingLeft(path: string, step: number): void {
  const current = existsSync(path) ? basename(realDatabasePath(path)) : undefined;
  const left = readdirSync(dirname(path)).filter(
    name =>
      !/^tenant\.db\.(fresh|replaced-1)/.test(name) &&
      name !== 'tenant.db' &&
      (current === undefined || ![current, `${current}-shm`, `${current}-wal`].includes(name)),
  );
  expect(left, `step ${step}`).toEqual([]);
}
