import { getRequestListener } from '@hono/node-server';
import { tenantFile } from '@onewriter/protocol';
import {
  announceReady,
  createRedis,
  drainOnSignal,
  FAIL_FAST,
  openHttpServer,
  resolveTokenSecret,
  startProcess,
} from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { createGatewayApp } from './gateway-app.ts';
import { createHealthCheck } from './health.ts';
import { createIntegrityCheck } from './integrity-check.ts';

await startProcess('gateway', async (config, log) => {
  const redis = createRedis(config.redisUrl, log, FAIL_FAST);
  const onewriter = await connect({
    redis: config.redisUrl,
    dataDir: config.dataDir,
    dbFile: config.dbFile,
    group: config.group,
    // The gateway is the one others ask: it has nobody to ask but the files.
    reads: 'file',
    writeTimeoutMs: config.writeTimeoutMs,
    busyTimeoutMs: config.busyTimeoutMs,
    logger: log,
  });

  const app = createGatewayApp({
    onewriter,
    health: createHealthCheck(redis, config.group),
    checkIntegrity: createIntegrityCheck({
      fileOf: tenant => tenantFile(config.dataDir, tenant, config.dbFile),
      busyTimeoutMs: config.busyTimeoutMs,
    }),
    draining: () => server.draining,
    tokenSecret: await resolveTokenSecret(config.tokenSecret, log),
    maxBodyBytes: config.maxBodyBytes,
    writeTimeoutMs: config.writeTimeoutMs,
    log,
  });
  const server = await openHttpServer(getRequestListener(app.fetch, { errorHandler: answerBadRequest }), {
    port: config.gatewayPort,
    host: config.host,
    log,
  });
  log.info({ host: config.host, port: server.port }, 'Gateway listens');

  drainOnSignal(config.drainMs, log, async () => {
    const closed = server.close(config.drainMs * 0.9);
    // Requests finish on their own, mostly; then the client settles what is left, and the answers still go out.
    await Promise.race([closed, afterMs(config.drainMs * 0.7)]);
    await onewriter.close({ timeoutMs: config.drainMs * 0.1 });
    await closed;
    redis.disconnect();
  });
  announceReady(server.port);
});

function afterMs(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms).unref());
}

/** Answers a request that is HTTP, but has a Host header or a path that no URL can be made of. */
function answerBadRequest(): Response {
  return Response.json({ error: 'The request is malformed.', code: 'INVALID_ARGUMENT' }, { status: 400 });
}
