import { join, resolve } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { OperationStore } from '@onewriter/operations';
import {
  assertSqliteOpens,
  chooseGatewayOpenFiles,
  readProcessRoom,
  registerMetrics,
  tenantFile,
} from '@onewriter/protocol';
import { configuredAccess } from '@onewriter/replicator';
import {
  announceReady,
  createConfiguredVerifier,
  createMetricsAccess,
  createProcessRegistry,
  createRedis,
  drainOnSignal,
  FAIL_FAST,
  HttpMetrics,
  type Logger,
  listenSettings,
  openHttpServer,
  parseNetworks,
  publishRevocations,
  RevocationFiles,
  startProcess,
  startTracing,
} from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { setDurability, TenantCatalogue } from '@onewriter/tenants';
import { trace } from '@opentelemetry/api';
import Database from 'better-sqlite3';
import { BodyThreads } from './bodies/body-reader.ts';
import { dropInMetric } from './dialects/drop-in/drop-in-metrics.ts';
import { DropInUses } from './dialects/drop-in/drop-in-uses.ts';
import { Leniency } from './dialects/drop-in/leniency.ts';
import { createHrana } from './dialects/hrana/create-hrana.ts';
import { createExporter } from './export/run-export.ts';
import { createGatewayApp } from './gateway-app.ts';
import { createHealthCheck } from './http/health.ts';
import { createLoader } from './load/loader.ts';
import { createOperationRunner } from './operations/operation-runner.ts';
import { createIntegrityCheck } from './processes/integrity-check.ts';
import { chooseGatewayRoute } from './reads/choose-gateway-route.ts';
import { OwnerReadSteps } from './reads/owner-read-steps.ts';
import { OwnerTenantReads } from './reads/owner-tenant-reads.ts';
import { QuickReads } from './reads/quick-reads.ts';
import { readMetrics } from './reads/read-metrics.ts';
import { ReadProcesses } from './reads/read-processes.ts';
import { createReadSteps } from './reads/read-steps.ts';
import { WakingReads, wakingSteps } from './reads/waking-reads.ts';
import { createGatewayReplica } from './replica/gateway-replica.ts';
import { MAX_POINT_FILES } from './replica/point-files.ts';
import { createAuditLog } from './security/audit-log.ts';
import { createRateLimits } from './security/rate-limits.ts';
import { Tokenless } from './security/tokenless.ts';
import { tokenlessMetrics } from './security/tokenless-metrics.ts';
import { streamMetrics } from './streams/stream-metrics.ts';
import { isStreamRequest } from './streams/stream-request.ts';
import { StreamRooms } from './streams/stream-room.ts';
import { createTenantBuilder } from './tenants/build-tenant.ts';
import { createTenantDeletion } from './tenants/delete-tenant.ts';
import { createPauseFlags } from './tenants/pause-flags.ts';
import { createTenantPlacement } from './tenants/place-tenant.ts';
import { createRetireFile } from './tenants/retire-file.ts';
import { TenantFiles } from './tenants/tenant-files.ts';

const EMPTY_TRASH_EVERY_MS = 10 * 60_000;
/** Longer than a gateway runs; what one left that was killed goes when it has given no sign of life. */
const POINT_FOLDER_LIFE_MS = 365 * 24 * 60 * 60_000;

await startProcess('gateway', async (config, log) => {
  // Its read processes load the same.
  assertSqliteOpens(() => new Database(':memory:'));
  const tracing = await startTracing('onewriter-gateway', config, log);
  const redis = createRedis(config.redisUrl, log, FAIL_FAST);
  const openFiles = chooseGatewayOpenFiles(readProcessRoom());
  log.info(openFiles, 'Files that are kept open for reads, and connections');
  const route = chooseGatewayRoute(config, log);
  const onewriter = await connect({
    redis: config.redisUrl,
    dataDir: config.dataDir,
    dbFile: config.dbFile,
    group: config.group,
    reads: route,
    writeTimeoutMs: config.writeTimeoutMs,
    busyTimeoutMs: config.busyTimeoutMs,
    maxQueueBytes: config.maxQueueBytes,
    maxRedisBytes: config.maxRedisBytes,
    maxOpenReaders: openFiles.client,
    tracing: tracing !== undefined,
    logger: log,
  });

  const places = { dataDir: config.dataDir, dbFile: config.dbFile, busyTimeoutMs: config.busyTimeoutMs };
  const readSettings = {
    ...places,
    memoryBytes: config.readMemoryBytes,
    timeoutMs: config.readTimeoutMs,
    snapshotLogBytes: config.snapshotLogBytes,
    log,
  };
  const readProcesses = new ReadProcesses({
    ...readSettings,
    // Where only the broker opens files they run what needs none: a tenant that is new is empty.
    dataDir: route === 'file' ? places.dataDir : join(resolve(places.dataDir), 'none'),
    maxOpenFiles: openFiles.perProcess,
    maxProcesses: config.readProcesses,
  });
  const quick = new QuickReads(places, readProcesses, openFiles.quick);
  const reads =
    route === 'file'
      ? new WakingReads(quick, onewriter)
      : new OwnerTenantReads(onewriter, config.readTimeoutMs);
  const files = new TenantFiles(config.dataDir, config.dbFile, createRetireFile(config.busyTimeoutMs, log));
  const catalogue = new TenantCatalogue(redis, config.group, files);
  const place = createTenantPlacement(redis, config.group, files);
  const pauses = createPauseFlags(redis, config.group);
  const backups = join(resolve(config.dataDir), 'backups');
  const dataPlace = { ...places, dataDir: resolve(config.dataDir), group: config.group };
  const onReplaced = (tenant: string) => {
    reads.forget(tenant);
    catalogue.refresh();
  };
  const operations = createOperationRunner({
    redis,
    redisUrl: config.redisUrl,
    place: dataPlace,
    backups,
    memoryBytes: config.readMemoryBytes,
    tenants: () => files.withFiles(),
    onRestored: onReplaced,
    log,
  });
  const access = configuredAccess(config);
  const replica =
    access &&
    createGatewayReplica({
      access,
      redis,
      place: dataPlace,
      memoryBytes: config.readMemoryBytes,
      onHibernated: onReplaced,
      files: {
        makeFolder: () => files.makeScratch('points', POINT_FOLDER_LIFE_MS),
        removeFolder: path => files.removeScratch(path),
        openReads: dataDir =>
          new ReadProcesses({ ...readSettings, dataDir, maxOpenFiles: MAX_POINT_FILES, maxProcesses: 2 }),
        readTimeoutMs: config.readTimeoutMs,
        log,
      },
    });
  const load = createLoader({
    redis,
    place: dataPlace,
    memoryBytes: config.readMemoryBytes,
    createTenants: config.createTenants,
    assertMayWrite: tenant => pauses.assertNotPaused(tenant),
    onLoaded: onReplaced,
  });
  const hrana = createHrana({
    onewriter,
    reads:
      route === 'file'
        ? wakingSteps(createReadSteps(readProcesses), onewriter)
        : new OwnerReadSteps(onewriter, createReadSteps(readProcesses), config.readTimeoutMs),
    readNow: (tenant, statement) => (route === 'file' ? quick.readNow(tenant, statement) : undefined),
    assertNotPaused: (tenant, timeoutMs) => pauses.assertNotPaused(tenant, timeoutMs),
    secret: config.tokenSecret,
    createTenants: config.createTenants,
    hostDomain: config.libsqlHost,
    readTimeoutMs: config.readTimeoutMs,
    writeTimeoutMs: config.writeTimeoutMs,
    idleMs: config.transactionIdleMs,
    maxSnapshotMs: config.transactionMaxMs,
  });
  const closing = new AbortController();
  const revocations = new RevocationFiles(config.dataDir);
  const stopPublishing = publishRevocations(redis, config.group, revocations, log);
  const verifyToken = await createConfiguredVerifier(config, revocations, log);
  const tokenless = new Tokenless(parseNetworks(config.dropInTokenless));
  const uses = new DropInUses(redis, config.group, log);
  const http = new HttpMetrics();
  const metrics = createProcessRegistry(redis);
  onewriter.exposeMetrics(metrics);
  const rooms = new StreamRooms();
  const bodies = new BodyThreads(config.maxBodyBytes, log);
  registerMetrics(metrics, [
    ...http.sources(() => server.bytes()),
    ...readMetrics(quick, readProcesses),
    ...streamMetrics(rooms),
    ...tokenlessMetrics(tokenless),
    dropInMetric(uses),
  ]);

  const app = createGatewayApp({
    onewriter,
    reads,
    health: createHealthCheck(redis, config.group, config.dataDir),
    pauses,
    hrana,
    tenants: {
      files,
      create: (tenant, who) => place(tenant, who, () => files.create(tenant)),
      build: createTenantBuilder({
        files,
        place,
        memoryBytes: config.readMemoryBytes,
        timeoutMs: config.writeTimeoutMs,
      }),
      catalogue,
      setDurability: (tenant, durability) => setDurability(redis, config.group, tenant, durability),
      remove: createTenantDeletion({
        redis,
        group: config.group,
        files,
        retentionMs: config.trashRetentionMs,
        onMoved: onReplaced,
      }),
    },
    audit: createAuditLog(redis, config.group, log),
    operations: { store: new OperationStore(redis, config.group), runner: operations, load, backups },
    replica,
    revocations,
    exporter: createExporter({
      settings: places,
      files,
      memoryBytes: config.readMemoryBytes,
      timeoutMs: config.exportTimeoutMs,
      snapshotLogBytes: config.snapshotLogBytes,
      log,
    }),
    verifyToken,
    tokenless,
    leniency: new Leniency({
      doubleQuotes: config.dropInDoubleQuotes,
      repeatedDdl: config.dropInRepeatedDdl,
      reads,
      uses,
    }),
    metrics: { registry: metrics, http, assertAccess: createMetricsAccess(config.metricsToken, verifyToken) },
    limits: createRateLimits({ perToken: config.tokenRateLimit, perTenant: config.tenantRateLimit }),
    checkIntegrity: createIntegrityCheck({
      fileOf: tenant => tenantFile(config.dataDir, tenant, config.dbFile),
      busyTimeoutMs: config.busyTimeoutMs,
      memoryBytes: config.readMemoryBytes,
    }),
    corsOrigins: config.corsOrigins.split(/[\s,]+/).filter(origin => origin !== ''),
    draining: () => server.draining,
    closing: closing.signal,
    maxBodyBytes: config.maxBodyBytes,
    maxRequests: openFiles.connections,
    rooms,
    bodies,
    writeTimeoutMs: config.writeTimeoutMs,
    readTimeoutMs: config.readTimeoutMs,
    log,
    tracer: tracing && trace.getTracer('@onewriter/gateway'),
  });
  const server = await openHttpServer(getRequestListener(app.fetch, { errorHandler: answerBadRequest }), {
    port: config.gatewayPort,
    host: config.host,
    settings: listenSettings('gatewayPort'),
    log,
    mayStream: isStreamRequest,
    maxConnections: openFiles.connections,
  });
  emptyTrashNowAndThen(files, log);
  log.info({ host: config.host, port: server.port }, 'Gateway listens');
  if (tokenless.networks.length > 0) {
    log.warn(
      { networks: tokenless.networks },
      'Peers of these networks read and write all tenants without a token, at the drop-in routes',
    );
  }

  drainOnSignal(config.drainMs, log, async () => {
    const closed = server.close(config.drainMs * 0.9);
    closing.abort();
    const stopped = operations.close();
    // Requests finish on their own, mostly; then the client settles what is left, and the answers still go out.
    await Promise.race([closed, afterMs(config.drainMs * 0.7)]);
    hrana.streams.close();
    await onewriter.close({ timeoutMs: config.drainMs * 0.1 });
    await closed;
    await stopped;
    quick.close();
    await replica?.files.close();
    await readProcesses.close();
    await bodies.close();
    await uses.close();
    stopPublishing();
    redis.disconnect();
    await tracing?.close(config.drainMs * 0.1);
  });
  announceReady(server.port);
});

/** Removes expired folders from the trash, and what processes left that are gone: at once, and every ten minutes. */
function emptyTrashNowAndThen(files: TenantFiles, log: Logger): void {
  const run = async () => {
    try {
      for (const { name, tenant } of await files.emptyTrash())
        log.info({ name, tenant }, 'Removed from the trash');
    } catch (error) {
      log.warn({ err: error }, 'The trash could not be emptied; tried again in ten minutes');
    }
  };
  void run();
  setInterval(run, EMPTY_TRASH_EVERY_MS).unref();
}

function afterMs(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms).unref());
}

/** Answers a request that is HTTP, but has a Host header or a path that no URL can be made of. */
function answerBadRequest(): Response {
  return Response.json({ error: 'The request is malformed.', code: 'INVALID_ARGUMENT' }, { status: 400 });
}
