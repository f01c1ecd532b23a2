import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createProcessRegistry, ONEWRITER_VERSION } from './process-metrics.ts';

it('shows the version that package.json has, and whether Redis is there', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  expect(ONEWRITER_VERSION).toBe(version);
  const shown = await createProcessRegistry({ status: 'reconnecting' }).metrics();
  expect(shown).toContain(`onewriter_build_info{version="${version}",node="${process.versions.node}"} 1`);
  expect(shown).toMatch(/^onewriter_redis_up 0$/m);
  expect(shown).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
});
