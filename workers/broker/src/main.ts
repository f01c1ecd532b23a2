import {
  adviseOnMemory,
  announceReady,
  drainOnSignal,
  endWithParent,
  isSpare,
  listenSettings,
  openHttpServer,
  Successor,
  startProcess,
  startTracing,
  waitAsSpare,
} from '@onewriter/runtime';
import { assertSqliteWorks } from '@onewriter/writer';
import { Broker } from './broker.ts';
import { createHealthListener } from './observe/health.ts';

/** Connections for probes and scrapes. */
const MAX_CONNECTIONS = 32;

await startProcess('broker', async (config, log) => {
  if (isSpare()) endWithParent();
  assertSqliteWorks();
  const advice = adviseOnMemory(process.constrainedMemory(), process.env);
  if (advice !== undefined) log.warn(advice);
  const tracing = await startTracing('onewriter-broker', config, log);
  const broker = new Broker(config, log, Successor.ofParent());
  await broker.prepare();
  if (isSpare()) await waitAsSpare();
  const server = await openHttpServer(createHealthListener(broker, log), {
    port: config.brokerPort,
    host: config.host,
    settings: listenSettings('brokerPort'),
    log,
    // Their descriptors come from those that the writer threads leave (open-files.ts of the protocol).
    maxConnections: MAX_CONNECTIONS,
  });
  drainOnSignal(config.drainMs, log, async () => {
    const [atRest] = await Promise.all([broker.drain(), server.close(config.drainMs / 2)]);
    await tracing?.close(config.drainMs * 0.1);
    if (!atRest) process.kill(process.pid, 'SIGKILL');
  });
  broker.announce(server.port);
  announceReady(server.port);
  await broker.run();
});
