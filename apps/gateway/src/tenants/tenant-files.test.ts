import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tenantFile, trashDir } from '@onewriter/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { TenantFiles } from './tenant-files.ts';

function openFiles() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-files-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  return { dataDir, files: new TenantFiles(dataDir, 'tenant.db') };
}

describe('TenantFiles', () => {
  it('creates a file once, and never touches one that is there', async () => {
    const { dataDir, files } = openFiles();
    expect(await files.list()).toEqual([]);
    expect(await files.create('acme')).toBe(true);
    writeFileSync(tenantFile(dataDir, 'acme'), 'content');
    expect(await files.create('acme')).toBe(false);
    expect(await files.size('acme')).toEqual({ bytes: 7, walBytes: 0 });
    expect(await files.size('nobody')).toBeUndefined();
    expect(await files.list()).toEqual(['acme']);
    await expect(files.create('../acme')).rejects.toMatchObject({ code: 'INVALID_TENANT' });
  });

  it('lists tenants only, by name', async () => {
    const { dataDir, files } = openFiles();
    for (const tenant of ['b', 'a', 'c-1']) await files.create(tenant);
    writeFileSync(join(dataDir, 'tenants', 'file'), '');
    expect(await files.list()).toEqual(['a', 'b', 'c-1']);
  });

  it('keeps what was deleted until it expires', async () => {
    const { dataDir, files } = openFiles();
    await files.create('acme');
    const entry = await files.moveToTrash('acme', 60_000);
    expect(entry.name).toBe(`acme.${entry.deletedAtMs}.${entry.deletedAtMs + 60_000}`);
    expect(existsSync(join(trashDir(dataDir), entry.name, 'tenant.db'))).toBe(true);
    await expect(files.moveToTrash('acme', 60_000)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    // What is not ours is not removed.
    writeFileSync(join(trashDir(dataDir), 'notes.txt'), '');
    const scratch = await files.makeScratch('acme', 1_000);
    expect(await files.emptyTrash(entry.expiresAtMs - 1)).toHaveLength(1);
    expect(existsSync(scratch)).toBe(false);
    expect(await files.emptyTrash(entry.expiresAtMs)).toEqual([entry]);
    expect(readdirSync(trashDir(dataDir))).toEqual(['notes.txt']);
  });
});
