import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noteKnownDatabase } from '@onewriter/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { loadTenant } from './load-tenant.ts';

/** A load into a tenant without a file. */
async function load(options: { mayCreate: boolean; wasThere: boolean }) {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-load-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  if (options.wasThere) noteKnownDatabase(dataDir, 'acme');
  const place = { dataDir, group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 50 };
  const limits = { timeoutMs: () => 1_000, memoryBytes: 1 };
  const rest = {
    format: 'sql',
    name: 'x',
    replace: false,
    who: 'test',
    limits,
    redis: undefined as never,
  } as const;
  const loading = loadTenant(place, { tenant: 'acme', source: '/nowhere', ...rest, ...options });
  const error = await loading.catch((thrown: unknown) => thrown);
  expect(readdirSync(dataDir).filter(name => name !== 'known')).toEqual([]);
  return error;
}

it('makes no tenant where only an admin may', async () => {
  expect(await load({ mayCreate: false, wasThere: false })).toMatchObject({ code: 'TENANT_NOT_FOUND' });
});

it('puts nothing in the place of a file that is gone, and may come back with its disk', async () => {
  expect(await load({ mayCreate: true, wasThere: true })).toMatchObject({
    code: 'TENANT_UNAVAILABLE',
    message: expect.stringMatching(/moved or deleted outside/),
  });
});
