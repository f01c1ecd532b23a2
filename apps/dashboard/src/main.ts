import { getRequestListener } from '@hono/node-server';
import {
  announceReady,
  createRedis,
  drainOnSignal,
  FAIL_FAST,
  openHttpServer,
  resolveTokenSecret,
  startProcess,
} from '@onewriter/runtime';
import { createDashboard } from './dashboard-app.ts';

await startProcess('dashboard', async (config, log) => {
  const redis = createRedis(config.redisUrl, log, FAIL_FAST);
  const dashboard = await createDashboard({
    redis,
    group: config.group,
    tokenSecret: await resolveTokenSecret(config.tokenSecret, log),
    draining: () => server.draining,
    log,
  });
  const server = await openHttpServer(
    getRequestListener(dashboard.app.fetch, { errorHandler: answerBadRequest }),
    {
      port: config.dashboardPort,
      host: config.host,
      log,
    },
  );
  log.info({ host: config.host, port: server.port }, 'Dashboard listens');

  drainOnSignal(config.drainMs, log, async () => {
    await server.close(config.drainMs * 0.9);
    await dashboard.close();
    redis.disconnect();
  });
  announceReady(server.port);
});

/** Answers a request that is HTTP, but has a Host header or a path that no URL can be made of. */
function answerBadRequest(): Response {
  return Response.json({ error: 'The request is malformed.', code: 'INVALID_ARGUMENT' }, { status: 400 });
}
