import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { OnewriterError } from '@onewriter/protocol';
import { createLogger, createTokenVerifier, signToken } from '@onewriter/runtime';
import { createHrana } from '../src/dialects/hrana/create-hrana.ts';
import { createGatewayApp } from '../src/gateway-app.ts';
import type { GatewayOptions } from '../src/gateway-options.ts';
import { QuickReads } from '../src/reads/quick-reads.ts';
import { createReadSteps } from '../src/reads/read-steps.ts';
import { createRateLimits } from '../src/security/rate-limits.ts';
import { FileWriter } from './file-writer.ts';

const SECRET = 'a-secret-for-tests-only';

// The processes are those that were built: threads and processes load JavaScript.
const { ReadProcesses } = (await import(
  new URL('../dist/reads/read-processes.js', import.meta.url).href
)) as typeof import('../src/reads/read-processes.ts');

/** The libSQL routes over real files and reading processes, without Redis and broker. */
export async function openHranaGateway(
  options: { idleMs?: number; hostDomain?: string; createTenants?: boolean } = {},
) {
  const directory = mkdtempSync(join(tmpdir(), 'onewriter-hrana-'));
  const log = createLogger('test', 'silent');
  const processes = new ReadProcesses({
    dataDir: directory,
    dbFile: 'tenant.db',
    busyTimeoutMs: 1_000,
    maxOpenFiles: 32,
    maxProcesses: 2,
    memoryBytes: 512 * 1024 * 1024,
    timeoutMs: 10_000,
    snapshotLogBytes: 256 * 1024 * 1024,
    log,
  });
  const quick = new QuickReads(
    { dataDir: directory, dbFile: 'tenant.db', busyTimeoutMs: 1_000 },
    processes,
    64,
  );
  const writer = new FileWriter(directory);
  const paused = new Set<string>();
  const hrana = createHrana({
    onewriter: {
      tenant: (id: string) => ({ steps: (request: never) => writer.steps(id, request) }),
    } as never,
    reads: createReadSteps(processes),
    readNow: (tenant, statement) => quick.readNow(tenant, statement),
    assertNotPaused: async tenant => {
      if (paused.has(tenant)) throw new OnewriterError('TENANT_PAUSED', 'The tenant is paused.');
    },
    secret: SECRET,
    createTenants: options.createTenants ?? true,
    hostDomain: options.hostDomain,
    readTimeoutMs: 10_000,
    writeTimeoutMs: 10_000,
    idleMs: options.idleMs ?? 10_000,
    maxSnapshotMs: 60_000,
  });
  const app = createGatewayApp({
    hrana,
    verifyToken: createTokenVerifier({ secret: SECRET }),
    limits: createRateLimits({ perToken: 0, perTenant: 0 }),
    operations: {},
    corsOrigins: [],
    maxBodyBytes: 4 * 1024 * 1024,
    writeTimeoutMs: 10_000,
    readTimeoutMs: 10_000,
    log,
  } as unknown as GatewayOptions);
  const server = createServer(getRequestListener(app.fetch));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const token = await signToken(SECRET, { tenants: '*', access: 'admin' });

  return {
    app,
    url,
    token,
    writer,
    hrana,
    quick,
    paused,
    signToken: (tenants: string[] | '*', access: 'read' | 'write' | 'admin') =>
      signToken(SECRET, { tenants, access }),
    close: async () => {
      server.close();
      server.closeAllConnections();
      hrana.streams.close();
      quick.close();
      await processes.close();
      writer.close();
      rmSync(directory, { recursive: true });
    },
  };
}
