import { LIMITS, newJobId } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { temporaryDataDir } from '../test-support/temporary-lane.ts';
import { TenantDatabase } from './tenant-database.ts';

const DAY_MS = 24 * 60 * 60_000;
const NOW_MS = 1_800_000_000_000;

function openTenant(): TenantDatabase {
  const dataDir = temporaryDataDir();
  return TenantDatabase.open('acme', {
    dataDir,
    dbFile: 'a.db',
    createTenants: true,
    busyTimeoutMs: 0,
    exclusive: false,
    epoch: 1,
  });
}

describe('pruning the ledger', () => {
  const fill = (database: TenantDatabase, rows: number, committedAtMs: number) => {
    database.db.exec('BEGIN');
    for (let row = 0; row < rows; row++) database.ledger.record(newJobId(), 1, committedAtMs, null, '[]');
    database.db.exec('COMMIT');
  };
  const count = (database: TenantDatabase) =>
    database.db.prepare('SELECT count(*) FROM _onewriter_ledger').pluck().get();

  it('deletes what is past its retention, a bounded number at a time', () => {
    const database = openTenant();
    fill(database, 450, NOW_MS - 2 * DAY_MS);
    fill(database, LIMITS.maxQueueDepth, NOW_MS);
    const left: unknown[] = [];
    for (let step = 0; step < 4; step++) {
      database.ledger.prune(NOW_MS);
      left.push(count(database));
    }
    expect(left).toEqual([1_250, 1_050, 1_000, 1_000]);
    // The next look is not before its time.
    fill(database, 5, NOW_MS);
    database.ledger.prune(NOW_MS + 1);
    expect(count(database)).toBe(1_005);
    database.close();
  });

  it('keeps the newest rows however far the clock jumps ahead', () => {
    const database = openTenant();
    fill(database, LIMITS.maxQueueDepth + 10, NOW_MS);
    database.ledger.prune(NOW_MS + 10_000 * DAY_MS);
    expect(count(database)).toBe(LIMITS.maxQueueDepth);
    database.close();
  });

  it('deletes by number only what no deadline can ask for', () => {
    const database = openTenant();
    fill(database, 300, NOW_MS - LIMITS.maxTimeoutMs - 1);
    fill(database, 100, NOW_MS - LIMITS.maxTimeoutMs + 1_000);
    fill(database, LIMITS.maxLedgerRows, NOW_MS);
    for (let step = 0; step < 4; step++) database.ledger.prune(NOW_MS);
    expect(count(database)).toBe(LIMITS.maxLedgerRows + 100);
    database.close();
  });

  it('deletes idempotency keys past their retention', () => {
    const database = openTenant();
    database.keys.store('old', 'f', 'w', 0, NOW_MS - 2 * DAY_MS, '[]');
    database.keys.store('new', 'f', 'w', 0, NOW_MS, '[]');
    database.ledger.prune(NOW_MS);
    expect(database.db.prepare('SELECT key FROM _onewriter_keys').pluck().all()).toEqual(['new']);
    database.close();
  });
});
