import { execFileSync } from 'node:child_process';
import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mountTmpfs } from '../../test-support/mount-tmpfs.ts';
import { refused, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');

describe('a new tenant where the file system has no inodes left', () => {
  // Its folder, the database, the log, the index: one more is there each time.
  it.each([0, 1, 2, 3])(
    'is refused as full with room for %i more files, and begins when there is room',
    left => {
      const dataDir = mountTmpfs('size=16m,nr_inodes=64');
      if (dataDir === undefined) return;
      const lane = new TemporaryLane({ dataDir });
      lane.apply(TABLE);
      const fillers: string[] = [];
      while (statfsSync(dataDir).ffree > left) {
        const filler = join(dataDir, `filler-${fillers.length}`);
        writeFileSync(filler, '');
        fillers.push(filler);
      }
      const full = refused(lane.run([TABLE], { tenant: 'new' }));
      expect(full.error).toMatchObject({ code: 'DATABASE_FULL' });
      // Others are written.
      lane.apply(writes('INSERT INTO t(a) VALUES (1)'));
      execFileSync('rm', fillers);
      expect(lane.run([TABLE], { tenant: 'new' })).toMatchObject({
        kind: 'applied',
        jobs: [{ failures: 0 }],
      });
    },
  );
});
