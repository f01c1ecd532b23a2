import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Where Onewriter is. */
export interface Stack extends AsyncDisposable {
  readonly redisUrl: string;
  readonly dataDir: string;
  readonly isOwn: boolean;
  /** Stops a stack of one's own and deletes its data. Idempotent. */
  close(): Promise<void>;
}

const READY_WITHIN_MS = 60_000;
const CLI = fileURLToPath(new URL('../../../cli/bin/onewriter.js', import.meta.url));

/**
 * The stack that ONEWRITER_REDIS_URL and ONEWRITER_DATA_DIR name; where they are not set, one of our own in a
 * temporary folder, started as a person would, with `onewriter up`.
 *
 * @throws Error where only one of the two is set, or the own stack is not ready within a minute.
 */
export async function openStack(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Stack> {
  const redisUrl = environment['ONEWRITER_REDIS_URL'];
  const dataDir = environment['ONEWRITER_DATA_DIR'];
  if (redisUrl && dataDir) {
    const close = async () => {};
    return { redisUrl, dataDir, isOwn: false, close, [Symbol.asyncDispose]: close };
  }
  if (redisUrl || dataDir) {
    throw new Error('Set both ONEWRITER_REDIS_URL and ONEWRITER_DATA_DIR, or neither.');
  }
  return startStack();
}

async function startStack(): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), 'onewriter-import-'));
  const args = ['up', '--json', '--data-dir', folder, '--gateway-port', '0', '--dashboard-port', '0'];
  // A group of its own: at Ctrl-C this process ends the stack when it has closed its client.
  const child = spawn(process.execPath, [CLI, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    env: { ...process.env, ONEWRITER_LOG_LEVEL: process.env['ONEWRITER_LOG_LEVEL'] ?? 'error' },
  });
  const exited = once(child, 'close');
  const endNow = () => child.kill('SIGTERM'); // `onewriter up` drains its children even without a waiting parent
  process.once('exit', endNow);
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      await exited;
    }
    process.off('exit', endNow);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const lines = createInterface({ input: child.stdout });
    const [line] = await Promise.race([
      once(lines, 'line', { signal: AbortSignal.timeout(READY_WITHIN_MS) }) as Promise<[string]>,
      exited.then(() => Promise.reject(new Error('`onewriter up` ended before it was ready; see above.'))),
    ]);
    const ready = JSON.parse(line) as { redisUrl: string; dataDir: string };
    return {
      redisUrl: ready.redisUrl,
      dataDir: ready.dataDir,
      isOwn: true,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
