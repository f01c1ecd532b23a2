import { getRequestListener } from '@hono/node-server';
import { registerMetrics } from '@onewriter/protocol';
import {
  announceReady,
  createConfiguredVerifier,
  createMetricsAccess,
  createProcessRegistry,
  createRedis,
  drainOnSignal,
  FAIL_FAST,
  HttpMetrics,
  listenSettings,
  openHttpServer,
  RevocationsInRedis,
  startProcess,
} from '@onewriter/runtime';
import { createDashboard } from './dashboard-app.ts';

await startProcess('dashboard', async (config, log) => {
  const redis = createRedis(config.redisUrl, log, FAIL_FAST);
  const revocations = new RevocationsInRedis(redis, config.group);
  const unfollow = revocations.follow(log);
  const verifyToken = await createConfiguredVerifier(config, revocations, log);
  const http = new HttpMetrics();
  const metrics = createProcessRegistry(redis);
  registerMetrics(
    metrics,
    http.sources(() => server.bytes()),
  );
  const dashboard = await createDashboard({
    redis,
    group: config.group,
    maxQueueBytes: config.maxQueueBytes,
    metrics: {
      registry: metrics,
      http,
      assertAccess: createMetricsAccess(config.metricsToken, verifyToken),
    },
    verifyToken,
    gatewayUrl: config.gatewayUrl,
    dataDir: config.dataDir,
    draining: () => server.draining,
    log,
  });
  const server = await openHttpServer(
    getRequestListener(dashboard.app.fetch, { errorHandler: answerBadRequest }),
    {
      port: config.dashboardPort,
      host: config.host,
      settings: listenSettings('dashboardPort'),
      log,
    },
  );
  log.info({ host: config.host, port: server.port }, 'Dashboard listens');

  drainOnSignal(config.drainMs, log, async () => {
    const closed = server.close(config.drainMs * 0.9);
    dashboard.endStreams();
    await closed;
    await dashboard.close();
    unfollow();
    redis.disconnect();
  });
  announceReady(server.port);
});

/** Answers a request that is HTTP, but has a Host header or a path that no URL can be made of. */
function answerBadRequest(): Response {
  return Response.json({ error: 'The request is malformed.', code: 'INVALID_ARGUMENT' }, { status: 400 });
}
