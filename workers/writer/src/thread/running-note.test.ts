import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { newJobId } from '@onewriter/protocol';
import { describe, expect, it, vi } from 'vitest';
import {
  queuedJob,
  script,
  TemporaryLane,
  temporaryDataDir,
  writes,
} from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import { parseRunningNote } from './running-note.ts';

describe('the note of a thread', () => {
  it('has the jobs of the batch that is under way, and none of one that was applied or refused', () => {
    const dataDir = temporaryDataDir();
    const runningNote = join(dataDir, 'running', '7.0');
    const lane = new TemporaryLane({ dataDir, runningNote });
    const noted = () => parseRunningNote(readFileSync(runningNote, 'latin1'));
    lane.applyOne(script('CREATE TABLE t(a)'));
    const seen: (readonly string[])[] = [];
    const assertInPlace = vi.spyOn(TenantDatabase.prototype, 'assertInPlace').mockImplementation(() => {
      seen.push(noted());
    });
    const jobs = [1, 2, 3].map(() => writes('INSERT INTO t VALUES (1)'));
    const last = writes('INSERT INTO t VALUES (2)');
    lane.apply(...jobs);
    expect(noted()).toEqual([]);
    lane.apply(last);
    assertInPlace.mockRestore();
    expect(noted()).toEqual([]);
    // The shorter one hides the rest of the longer one.
    expect(seen).toEqual([jobs.map(({ id }) => id), [last.id]]);
    lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 9, jobs: [writes('SELECT 1')] });
    const outcome = lane.lane.run({
      kind: 'apply',
      tenant: 'acme',
      epoch: 8,
      jobs: [queuedJob(['SELECT 1'], [{ s: 0 }])],
    });
    expect([outcome.kind, noted()]).toEqual(['refused', []]);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    expect(existsSync(runningNote)).toBe(true);
    lane.lane.run({ kind: 'close', tenant: null });
    expect(readdirSync(join(dataDir, 'running'))).toEqual([]);
  });

  it('is read as far as it is one', () => {
    const id = newJobId();
    expect(parseRunningNote('')).toEqual([]);
    expect(parseRunningNote('\n\n')).toEqual([]);
    expect(parseRunningNote(`${id}\n\nw-0000`)).toEqual([id]);
    expect(parseRunningNote(`${id}\nnonsense`)).toEqual([id]);
  });
});
