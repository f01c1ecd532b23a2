import type { LoadReport } from '@onewriter/files';
import { runLoad } from '@onewriter/operations/files';
import { OnewriterError } from '@onewriter/protocol';
import { beforeEach, expect, it, vi } from 'vitest';
import { createLoader, type LoaderRequest } from './loader.ts';

vi.mock('@onewriter/operations/files', async original => ({
  ...(await original<typeof import('@onewriter/operations/files')>()),
  runLoad: vi.fn(),
}));

const report = { tenant: 'acme', rows: 1, warnings: [] } as unknown as LoadReport;
const end = vi.fn();
const assertMayWrite = vi.fn(async () => {});

beforeEach(() => {
  vi.mocked(runLoad).mockReset().mockResolvedValue(report);
  end.mockReset();
});

function load(request: Partial<LoaderRequest> = {}, createTenants = true): Promise<LoadReport> {
  const place = { dataDir: '/nowhere', group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 1 };
  const redis = undefined as never;
  const onLoaded = () => {};
  const loader = createLoader({ redis, place, memoryBytes: 1, createTenants, assertMayWrite, onLoaded });
  return loader({
    ...{
      tenant: 'acme',
      source: '/nowhere',
      bytes: 1,
      format: 'sql',
      name: 'x',
      replace: false,
      who: 'test',
    },
    ...{ idempotencyKey: undefined, signal: new AbortController().signal, onProgress: () => {} },
    owner: { names: ['acme'] } as unknown as LoaderRequest['owner'],
    record: { end, progress: () => {}, log: () => {} } as unknown as LoaderRequest['record'],
    ...request,
  });
}

it('says in its record that it is done, although no caller is there to hear it', async () => {
  await load();
  expect(end).toHaveBeenCalledExactlyOnceWith({ result: report });
});

it('does not begin where the tenant was paused during the upload', async () => {
  assertMayWrite.mockRejectedValueOnce(new OnewriterError('TENANT_PAUSED', 'Paused.'));
  await expect(load()).rejects.toMatchObject({ code: 'TENANT_PAUSED' });
  expect(runLoad).not.toHaveBeenCalled();
});

it.each([
  [{}, true, true],
  [{}, false, false],
  [{ replace: true }, false, true],
  [{ format: 'sqlite' }, false, true],
] as const)(
  '%j, where tenants are made by the first write: %s; may make one: %s',
  async (request, createTenants, mayCreate) => {
    await load(request, createTenants);
    expect(vi.mocked(runLoad).mock.calls[0]![3]).toMatchObject({ mayCreate });
  },
);
