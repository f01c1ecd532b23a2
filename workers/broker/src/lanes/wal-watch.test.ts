import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '@onewriter/runtime';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished, vi } from 'vitest';
import { findWalReaders, WalWatch } from './wal-watch.ts';

const READER = `
const Database = require(process.argv[2]);
const rows = new Database(process.argv[3], { readonly: true }).prepare('SELECT * FROM t').iterate();
rows.next();
process.send('reading');
process.on('message', () => {});
`;

function createDataDir(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-walwatch-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  mkdirSync(join(dataDir, 'tenants/acme'), { recursive: true });
  return dataDir;
}

it('names the process that keeps a log from restarting, once per doubling, and reports when it is over', async () => {
  const dataDir = createDataDir();
  const path = join(dataDir, 'tenants/acme/tenant.db');
  const db = new Database(path);
  onTestFinished(() => void db.close());
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)');
  expect(await findWalReaders(path)).toEqual([]);

  const script = join(dataDir, 'reader.cjs');
  writeFileSync(script, READER);
  const reader = fork(script, [createRequire(import.meta.url).resolve('better-sqlite3'), path], {
    execArgv: [],
  });
  onTestFinished(() => void reader.kill('SIGKILL'));
  await once(reader, 'message');

  const log = { warn: vi.fn(), info: vi.fn(), debug: vi.fn() };
  const watch = new WalWatch(dataDir, 'tenant.db', log as unknown as Logger);
  const mib = 1024 * 1024;
  const walSize = (bytes: number) => truncateSync(`${path}-wal`, bytes);
  walSize(64 * mib);
  for (const walBytes of [4 * mib, 17 * mib, 20 * mib, 33 * mib]) watch.observe('acme', walBytes);
  expect(watch.heldTenants).toBe(0);
  await vi.waitFor(() => expect(log.warn).toHaveBeenCalledTimes(1), { timeout: 5_000 });
  expect(watch.held()).toMatchObject([{ tenant: 'acme', bytes: 33 * mib }]);
  expect(log.warn.mock.calls[0]?.[0]).toMatchObject({
    tenant: 'acme',
    walBytes: 33 * mib,
    readers: [{ pid: reader.pid, command: expect.stringContaining('reader.cjs') }],
  });
  watch.observe('acme', 67 * mib);
  await vi.waitFor(() => expect(log.warn).toHaveBeenCalledTimes(2));
  expect(watch.heldTenants).toBe(1);
  // The writer cuts it when the reader is gone, without a further batch.
  walSize(mib);
  watch.held();
  await vi.waitFor(() => expect(log.info).toHaveBeenCalledOnce());
  expect(watch.heldTenants).toBe(0);
});

it('says nothing of a log that one large write left, as the writer cuts it at once', async () => {
  const dataDir = createDataDir();
  const log = { warn: vi.fn(), info: vi.fn(), debug: vi.fn() };
  const watch = new WalWatch(dataDir, 'tenant.db', log as unknown as Logger);
  writeFileSync(join(dataDir, 'tenants/acme/tenant.db'), '');
  writeFileSync(join(dataDir, 'tenants/acme/tenant.db-wal'), 'cut');
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  watch.observe('acme', 144 * 1024 * 1024);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(watch.held()).toEqual([]);
  expect(watch.heldTenants).toBe(0);
  expect(log.warn).not.toHaveBeenCalled();
  expect(log.info).not.toHaveBeenCalled();
});
