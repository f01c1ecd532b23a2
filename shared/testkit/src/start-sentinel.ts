import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { spawnProcess } from './spawn-process.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { waitFor } from './wait-for.ts';

/** A Sentinel that watches one primary, and decides alone. */
export interface TestSentinel extends AsyncDisposable {
  readonly port: number;
  /** Port of the primary, as Sentinel reports it now. */
  primaryPort(): Promise<number>;
  logs(): string;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** After so long without an answer the primary counts as down. */
const DOWN_AFTER_MS = 500;

/**
 * Starts `redis-server --sentinel` for the primary on `primaryPort`; it knows of a replica when this resolves.
 * @param name what clients ask for
 */
export async function startSentinel(name: string, primaryPort: number): Promise<TestSentinel> {
  const directory = await temporaryDirectory('sentinel');
  const port = await freePort();
  const configuration = join(directory.path, 'sentinel.conf');
  await writeFile(
    configuration,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${directory.path}`,
      `sentinel monitor ${name} 127.0.0.1 ${primaryPort} 1`,
      `sentinel down-after-milliseconds ${name} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${name} 5000`,
      '',
    ].join('\n'),
  );
  const server = await spawnProcess('redis-server', [configuration, '--sentinel']);
  const client = new Redis(port, '127.0.0.1', {
    retryStrategy: () => 50,
    maxRetriesPerRequest: null,
    enableReadyCheck: false,
  });
  client.on('error', () => {}); // it connects again
  const stop = async () => {
    client.disconnect();
    await server.stop(5_000);
    await directory.remove();
  };
  try {
    await waitFor(async () => ((await client.call('SENTINEL', 'REPLICAS', name)) as unknown[]).length > 0, {
      timeoutMs: 20_000,
      what: 'a replica that the Sentinel knows',
    });
  } catch (error) {
    await stop();
    throw new Error(`The Sentinel does not serve:\n${server.logs()}`, { cause: error });
  }
  return {
    port,
    primaryPort: async () => {
      const address = (await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)) as [string, string];
      return Number(address[1]);
    },
    logs: () => server.logs(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
