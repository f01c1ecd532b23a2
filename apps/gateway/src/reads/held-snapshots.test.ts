import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import { expect, it, onTestFinished, vi } from 'vitest';
import { HeldSnapshots } from './held-snapshots.ts';

const LOG_BYTES = 1_000;

function open() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-snapshots-'));
  const snapshots = new HeldSnapshots({
    dataDir,
    dbFile: 'tenant.db',
    snapshotLogBytes: LOG_BYTES,
    log: createLogger('test', 'silent'),
  });
  onTestFinished(() => {
    snapshots.close();
    rmSync(dataDir, { recursive: true });
  });
  const setLog = (tenant: string, bytes: number) => {
    const path = tenantFile(dataDir, tenant);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
    writeFileSync(`${path}-wal`, Buffer.alloc(bytes));
  };
  return { snapshots, setLog };
}

it('ends the reads behind which the log has grown, of that tenant alone', () => {
  const { snapshots, setLog } = open();
  setLog('acme', 500);
  setLog('calm', 500);
  const [end, other] = [vi.fn(), vi.fn()];
  snapshots.add('acme', end);
  snapshots.add('calm', other);
  snapshots.look();
  setLog('acme', 500 + LOG_BYTES);
  expect(end).not.toHaveBeenCalled();

  snapshots.look();

  expect(end).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 'SNAPSHOT_ENDED' }));
  expect(other).not.toHaveBeenCalled();
});

it('counts from the first look on: what was in the log before does not end a read', () => {
  const { snapshots, setLog } = open();
  setLog('acme', LOG_BYTES + 1);
  const end = vi.fn();
  snapshots.add('acme', end);
  snapshots.look();
  snapshots.look();
  expect(end).not.toHaveBeenCalled();
});

it('leaves a read alone that is over', () => {
  const { snapshots, setLog } = open();
  setLog('acme', 0);
  const end = vi.fn();
  const drop = snapshots.add('acme', end);
  snapshots.look();
  setLog('acme', LOG_BYTES);
  drop();
  snapshots.look();
  expect(end).not.toHaveBeenCalled();
});
