import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestRedis } from '@onewriter/testkit';

/** As if the disk of a Redis were new. It must not run. */
export function deleteFiles(redis: TestRedis): void {
  for (const name of readdirSync(redis.directory)) {
    rmSync(join(redis.directory, name), { recursive: true, force: true });
  }
}
