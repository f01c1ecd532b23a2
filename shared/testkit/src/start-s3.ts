import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { trackHandle } from './live-handles.ts';
import type { S3Faults } from './s3/s3-faults.ts';
import { createObjects, type S3Objects } from './s3/s3-objects.ts';
import { CONTROL_PATH, createS3Server, type S3Counts } from './s3/s3-server.ts';
import { type SpawnedProcess, spawnProcess } from './spawn-process.ts';
import { waitFor } from './wait-for.ts';

export type { S3Faults, S3Kind } from './s3/s3-faults.ts';
export type { S3Object, S3Objects } from './s3/s3-objects.ts';
export type { S3Counts } from './s3/s3-server.ts';

/** Options of {@link startS3}. */
export interface StartS3Options {
  /** Faults from the start. */
  readonly faults?: S3Faults | undefined;
  /** Keeps objects as files there; default: in memory. */
  readonly directory?: string | undefined;
  /** Default: a free port. */
  readonly port?: number | undefined;
}

/** An S3 store of one test's own, with one bucket. */
export interface TestS3 extends AsyncDisposable {
  readonly port: number;
  /** `s3://<bucket>/<prefix>`, for ONEWRITER_REPLICA_URL. */
  readonly url: string;
  /** Endpoint and credentials: AWS_… */
  readonly env: Readonly<Record<string, string>>;
  /** Replaces all faults; `{}` makes it sound. */
  setFaults(faults: S3Faults): Promise<void>;
  /** Requests since the start. */
  counts(): Promise<S3Counts>;
  /** All keys, with the prefix. */
  keys(): Promise<readonly string[]>;
  /** Ends it. Idempotent. */
  stop(): Promise<void>;
}

const BUCKET = 'test-bucket';
const CREDENTIALS = { accessKeyId: 'testkit', secretAccessKey: 'testkit-secret' };

/** Starts a store in this process; its objects can be looked at and damaged. */
export async function startS3(
  options: StartS3Options = {},
): Promise<TestS3 & { readonly objects: S3Objects }> {
  const objects = createObjects(options.directory);
  const { server, setFaults, counts } = createS3Server({ bucket: BUCKET, credentials: CREDENTIALS, objects });
  setFaults(options.faults ?? {});
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const untrack = trackHandle({ what: `S3 on port ${port}`, endNow: () => server.closeAllConnections() });
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= new Promise<void>(resolve => {
      server.close(() => {
        untrack();
        resolve();
      });
      server.closeAllConnections();
    });
    return stopping;
  };
  return {
    ...describeS3(port),
    objects,
    setFaults: async faults => setFaults(faults),
    counts: async () => counts(),
    keys: async () => objects.keys(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * Starts a store in a process of its own, which other processes and tests under load use; `kill` and SIGSTOP are faults, too.
 * @throws Error if it does not serve within 15 s
 */
export async function startS3Process(
  options: StartS3Options = {},
): Promise<TestS3 & { readonly process: SpawnedProcess }> {
  const { directory, port: wanted } = options;
  // Beside this file in the built package; tests that import the sources have no other JavaScript either.
  const main = fileURLToPath(new URL('../dist/s3/main.js', import.meta.url));
  const settings = JSON.stringify({ bucket: BUCKET, credentials: CREDENTIALS, directory, port: wanted });
  const server = await spawnProcess(process.execPath, [main, settings], { ipc: true });
  try {
    const { port } = await waitFor(
      () => {
        if (server.child.exitCode !== null) throw new Error(server.logs());
        return server.messages.find((message): message is { port: number } => 'port' in Object(message));
      },
      { timeoutMs: 15_000, what: 'the S3 server' },
    );
    const control = async (path: string, body: unknown = {}) => {
      const response = await fetch(`http://127.0.0.1:${port}${CONTROL_PATH}${path}`, {
        method: 'POST',
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      return response.json() as Promise<unknown>;
    };
    if (options.faults !== undefined) await control('faults', options.faults);
    const stop = async () => void (await server.stop());
    return {
      ...describeS3(port),
      process: server,
      setFaults: async faults => void (await control('faults', faults)),
      counts: async () => (await control('counts')) as S3Counts,
      keys: async () => (await control('keys')) as readonly string[],
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

function describeS3(port: number) {
  return {
    port,
    url: `s3://${BUCKET}/replica`,
    env: {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
      AWS_REGION: 'us-east-1',
    },
  };
}
