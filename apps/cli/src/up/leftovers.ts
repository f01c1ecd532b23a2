import { Redis } from 'ioredis';
import { type RunFile, readRunFile, removeRunFile } from '../run-file.ts';
import type { UpLog } from './log.ts';
import { readRedisPlace, redisUrl } from './private-redis.ts';
import { commandLine, isAlive, waitForEnd } from './process-identity.ts';
import { SERVICES, type Service, servicePath } from './services.ts';

/**
 * Ends what an `onewriter up` on this data directory left when it was killed. Its services notice that and drain, so
 * this waits for them; it asks its Redis to shut down. Two Redis servers on one AOF would destroy it. Call it with the
 * directory's lock held: then no living `up` owns these processes.
 *
 * @param drainMs what a service may take to drain.
 */
export async function endLeftovers(dataDir: string, drainMs: number, log: UpLog): Promise<void> {
  const run = readRunFile(dataDir);
  for (const service of SERVICES) {
    await Promise.all(
      pidsOf(service, run).map(async pid => {
        if (!commandLine(pid).includes(servicePath(service))) return;
        log('info', `waiting for the ${service} of an earlier run to drain (pid ${pid})`);
        process.kill(pid, 'SIGTERM');
        if (await waitForEnd(pid, drainMs)) return;
        log(
          'warn',
          `the ${service} of an earlier run did not drain within ${drainMs} ms and is killed (pid ${pid})`,
        );
        process.kill(pid, 'SIGKILL');
        await waitForEnd(pid, drainMs);
      }),
    );
  }
  await endRedis(dataDir, log);
  removeRunFile(dataDir);
}

function pidsOf(service: Service, run: RunFile | undefined): readonly number[] {
  if (run === undefined) return [];
  return (service === 'broker' && run.pids.brokers) || [run.pids[service]];
}

const REDIS_SHUTDOWN_MS = 15_000;

async function endRedis(dataDir: string, log: UpLog): Promise<void> {
  const { port, password, pid } = readRedisPlace(dataDir);
  if (port === 0) return;
  // The password is this directory's own: the server that accepts it is the right one.
  const answering = await askToShutDown(redisUrl(port, password));
  // Redis shows its address in its title. One that does not answer may be stopped or loading.
  const leftover = answering ?? (commandLine(pid).includes(`redis-server 127.0.0.1:${port}`) ? pid : 0);
  if (leftover === 0 || !isAlive(leftover)) return;
  log('info', `ending the Redis of an earlier run (pid ${leftover})`);
  if (answering === undefined) {
    process.kill(leftover, 'SIGTERM');
    process.kill(leftover, 'SIGCONT');
  }
  if (await waitForEnd(leftover, REDIS_SHUTDOWN_MS)) return;
  log('warn', `the Redis of an earlier run does not end and is killed (pid ${leftover})`);
  process.kill(leftover, 'SIGKILL');
  await waitForEnd(leftover, REDIS_SHUTDOWN_MS);
}

/** Returns the server's process id if it accepted the password. */
async function askToShutDown(url: string): Promise<number | undefined> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: null,
    enableReadyCheck: false,
    connectTimeout: 1_000,
    commandTimeout: 2_000,
  });
  redis.on('error', () => {}); // no server there: nothing to end
  try {
    await redis.connect();
    const pid = Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]);
    // It answers by closing the connection.
    await redis.call('SHUTDOWN', 'NOSAVE').catch(() => {});
    return pid;
  } catch {
    return undefined;
  } finally {
    redis.disconnect();
  }
}
