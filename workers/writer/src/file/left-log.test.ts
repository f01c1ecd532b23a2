import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import {
  applied,
  script,
  TemporaryLane,
  temporaryDataDir,
  writes,
} from '../../test-support/temporary-lane.ts';

const TABLE = script('CREATE TABLE IF NOT EXISTS t(a)');

/** A lane that has closed `acme` for another tenant. */
function openAndLeave(options: ConstructorParameters<typeof TemporaryLane>[0] = {}): TemporaryLane {
  const lane = new TemporaryLane({ maxOpenTenants: 1, ...options });
  lane.apply(TABLE, writes('INSERT INTO t VALUES (1)'));
  applied(lane.run([TABLE], { tenant: 'b' }));
  return lane;
}

it.each(['acme', null])('makes a file that was released meanwhile not its own (close of %s)', tenant => {
  const lane = openAndLeave();
  expect(existsSync(`${lane.file}-wal`)).toBe(true);
  const other = new Database(lane.file);
  other.pragma('journal_mode = DELETE');
  other.close();
  const before = readFileSync(lane.file);
  lane.lane.run({ kind: 'close', tenant });
  expect(readFileSync(lane.file).equals(before)).toBe(true);
});

it('does not write the log into another file that was put in its place', () => {
  const lane = openAndLeave();
  const path = join(temporaryDataDir(), 'other.db');
  const other = new Database(path);
  other.exec('CREATE TABLE u(b); INSERT INTO u VALUES (2)');
  other.close();
  const before = readFileSync(path);
  renameSync(path, lane.file);
  lane.lane.run({ kind: 'close', tenant: 'acme' });
  expect(readFileSync(lane.file).equals(before)).toBe(true);
});

it('does not wait for the lock of a thread that has the file now, where none is shared', () => {
  const lane = openAndLeave({ exclusive: true, busyTimeoutMs: 3_000 });
  const next = new TemporaryLane({ dataDir: lane.options.dataDir, exclusive: true });
  next.apply(writes('INSERT INTO t VALUES (2)'));
  const startedAt = performance.now();
  lane.lane.run({ kind: 'close', tenant: 'acme' });
  expect(performance.now() - startedAt).toBeLessThan(1_500);
});
