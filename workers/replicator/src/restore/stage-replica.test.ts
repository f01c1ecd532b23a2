import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ReplicaWorld } from '../../test-support/replica-world.ts';
import type { OpenReplica } from '../jobs/replica-access.ts';
import { RestoreSource } from './stage-replica.ts';

it('makes no file that is larger than it may be', async () => {
  const world = new ReplicaWorld();
  world.commit(db => db.exec('CREATE TABLE t(a); INSERT INTO t VALUES (hex(randomblob(20000)))'));
  await world.ship();
  const { store, keys } = world;
  const source = new RestoreSource({ store, keys } as unknown as OpenReplica);
  const draft = join(world.folder, 'draft.db');
  const stage = (maxBytes: number) => source.stage(world.tenant, { kind: 'newest' }, draft, { maxBytes });
  await expect(stage(40_000)).rejects.toMatchObject({ code: 'RESULT_TOO_LARGE' });
  expect(existsSync(draft)).toBe(false);
  expect(await stage(100_000)).toMatchObject({ rows: 1 });
});
