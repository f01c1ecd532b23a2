import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  createDatabaseFile,
  findDatabaseFile,
  hadDatabase,
  incarnationOf,
  locateDatabase,
  newDatabaseName,
  noteFormerDatabase,
  realDatabasePath,
} from './database-file.ts';

let dataDir: string;
let folder: string;
let path: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-name-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  folder = join(dataDir, 'tenants', 'acme');
  mkdirSync(folder, { recursive: true });
  path = join(folder, 'tenant.db');
});

const code = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('the name of an incarnation', () => {
  it.each(['tenant.db', 'kanban.db', 'a.b.sqlite', 'data'])('is made from %s, and known by it', dbFile => {
    const name = newDatabaseName(dbFile);
    expect(incarnationOf(dbFile, name)).toMatch(/^[0-9a-f]{20}$/);
    expect(newDatabaseName(dbFile)).not.toBe(name);
    for (const other of [
      dbFile,
      `${name}-wal`,
      `x${name}`,
      `../${name}`,
      `other/${name}`,
      name.toUpperCase(),
    ])
      expect(incarnationOf(dbFile, other)).toBeUndefined();
  });
});

describe('findDatabaseFile', () => {
  it('finds the first file of a tenant at its path, and the next behind a link', () => {
    expect(findDatabaseFile(path)).toBeUndefined();
    expect(realDatabasePath(path)).toBe(path);
    expect(createDatabaseFile(path, false)).toBe(true);
    expect(findDatabaseFile(path)).toEqual({ path, incarnation: '' });
    expect(createDatabaseFile(path, true)).toBe(false);
    rmSync(path);
    expect(createDatabaseFile(path, true)).toBe(true);
    const name = readlinkSync(path);
    expect(findDatabaseFile(path)).toEqual({
      path: join(folder, name),
      incarnation: incarnationOf('tenant.db', name),
    });
    expect(createDatabaseFile(path, false)).toBe(false);
    expect(createDatabaseFile(path, true)).toBe(false);
    expect(locateDatabase(dataDir, 'acme')).toEqual(findDatabaseFile(path));
  });

  it('follows no other link, and none that leads nowhere or on', () => {
    const other = join(dataDir, 'tenants', 'other');
    mkdirSync(other);
    const name = newDatabaseName('tenant.db');
    writeFileSync(join(other, name), '');
    writeFileSync(join(folder, 'plain.db'), '');
    symlinkSync(join(other, name), join(folder, newDatabaseName('tenant.db')));
    const onwards = newDatabaseName('tenant.db');
    symlinkSync(join(other, name), join(folder, onwards));
    for (const target of [name, onwards, 'plain.db', `../other/${name}`, join(other, name), '.']) {
      symlinkSync(target, path);
      expect([target, code(() => findDatabaseFile(path))]).toEqual([target, 'TENANT_UNAVAILABLE']);
      expect(code(() => locateDatabase(dataDir, 'acme'))).toBe('TENANT_UNAVAILABLE');
      // A path that is refused is shown as it is.
      expect(realDatabasePath(path)).toBe(path);
      expect(createDatabaseFile(path, false)).toBe(false);
      rmSync(path);
    }
    mkdirSync(path);
    expect(code(() => findDatabaseFile(path))).toBe('TENANT_UNAVAILABLE');
  });

  it('follows no link in the place of the folder', () => {
    createDatabaseFile(path, true);
    symlinkSync(folder, join(dataDir, 'tenants', 'evil'));
    expect(code(() => locateDatabase(dataDir, 'evil'))).toBe('TENANT_UNAVAILABLE');
    expect(code(() => locateDatabase(dataDir, 'nobody'))).toBe('TENANT_NOT_FOUND');
    expect(code(() => locateDatabase(dataDir, '../acme'))).toBe('INVALID_TENANT');
  });

  it('leaves nothing beside a file that was there first', () => {
    createDatabaseFile(path, false);
    createDatabaseFile(path, true);
    expect(lstatSync(path).isFile()).toBe(true);
    expect(findDatabaseFile(path)).toEqual({ path, incarnation: '' });
  });
});

it('remembers that a tenant had a file', () => {
  expect(hadDatabase(dataDir, 'acme')).toBe(false);
  noteFormerDatabase(dataDir, 'acme');
  noteFormerDatabase(dataDir, 'acme');
  expect(hadDatabase(dataDir, 'acme')).toBe(true);
  expect(hadDatabase(dataDir, 'other')).toBe(false);
});
