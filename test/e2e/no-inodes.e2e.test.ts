import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '@libsql/client/http';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Service,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  trackHandle,
  waitFor,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { columnInFile } from './tenant-file.ts';

/* New tenants on a file system that has space, and no inodes left. Mounting one needs root. */

const IS_ROOT = process.platform === 'linux' && process.getuid?.() === 0;
/** Far below the deadline of a write, 30 s, and above what a busy machine takes. */
const AT_ONCE_MS = 10_000;
const CREATE = 'CREATE TABLE t(a)';

let folder: TemporaryDirectory;
let unmount: (() => void) | undefined;
let dataDir: string;
let redis: TestRedis;
let broker: Service;
let gateway: Service;
let onewriter: Onewriter;
let token: string;

beforeAll(async () => {
  if (!IS_ROOT) return;
  folder = await temporaryDirectory('no-inodes');
  dataDir = folder.path;
  execFileSync('mount', [
    ...['-t', 'tmpfs', '-o', 'size=64m,nr_inodes=120,mode=755', 'onewriter-no-inodes', dataDir],
  ]);
  const untrack = trackHandle({
    what: `mount ${dataDir}`,
    endNow: () => execFileSync('umount', ['-l', dataDir]),
  });
  unmount = () => {
    execFileSync('umount', ['-l', dataDir]);
    untrack();
  };
  redis = await startRedis();
  broker = await startService('broker', { redisUrl: redis.url, dataDir });
  gateway = await startService('gateway', { redisUrl: redis.url, dataDir });
  onewriter = await connect({ redis: redis.url, dataDir });
  token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  await onewriter.tenant('old').exec(CREATE);
});
afterAll(async () => {
  await onewriter?.close({ timeoutMs: 100 });
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  unmount?.();
  await folder?.remove();
});

/** Uses up all inodes but so many. @returns a function that frees them */
function takeInodes(left: number): () => void {
  const fillers: string[] = [];
  while (statfsSync(dataDir).ffree > left) {
    const filler = join(dataDir, `filler-${fillers.length}`);
    writeFileSync(filler, '');
    fillers.push(filler);
  }
  return () => {
    for (const filler of fillers) rmSync(filler);
  };
}

async function askV1(method: string, path: string, body: unknown): Promise<string> {
  const response = await fetch(`${gateway.url}/v1/tenants/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const { error } = (await response.json()) as { error?: { code: string } };
  return error?.code ?? 'ok';
}

/** Each way to make a tenant; resolves with the code of the failure. */
const WAYS: Readonly<Record<string, (tenant: string) => Promise<string>>> = {
  sdk: tenant =>
    onewriter
      .tenant(tenant)
      .exec(CREATE)
      .then(
        () => 'ok',
        error => error.code,
      ),
  'v1-script': tenant => askV1('POST', `${tenant}/script`, { sql: CREATE }),
  'v1-put': tenant => askV1('PUT', tenant, { script: CREATE }),
  libsql: async tenant => {
    const client = createClient({ url: `${gateway.url}/t/${tenant}/`, authToken: token });
    try {
      await client.execute(CREATE);
      return 'ok';
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      // As SQLite calls it, for clients that know its codes.
      return code === 'SQLITE_FULL' || message.includes('DATABASE_FULL')
        ? 'DATABASE_FULL'
        : `${code} ${message}`;
    } finally {
      client.close();
    }
  },
};

describe.runIf(IS_ROOT)('a new tenant where the file system has no inodes left', () => {
  // Its folder, the database, the log, the index: none is left, or some.
  describe.each([0, 1, 2, 3])('but %i', left => {
    it.each(Object.keys(WAYS))(
      'is refused as full at once by way of %s, and made when there is room',
      async way => {
        const tenant = `new-${way}-${left}`;
        const giveBack = takeInodes(left);
        try {
          const askedAt = performance.now();
          expect(await WAYS[way]!(tenant)).toBe('DATABASE_FULL');
          expect(performance.now() - askedAt).toBeLessThan(AT_ONCE_MS);
          // Others are written.
          await onewriter.tenant('old').prepare('INSERT INTO t VALUES (?)').run(tenant);
        } finally {
          giveBack();
        }
        await waitFor(async () => (await WAYS[way]!(tenant)) === 'ok', {
          timeoutMs: AT_ONCE_MS,
          what: 'the tenant to be made',
        });
        expect(columnInFile(dataDir, tenant, 'SELECT count(*) FROM t')).toEqual([0]);
      },
    );
  });
});

it.skipIf(IS_ROOT)('a new tenant where the file system has no inodes left', ({ skip }) =>
  skip('Only root may mount a file system that has few.'),
);
