import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';

/** Settings of the kanban server: where Onewriter is, and where this server listens. */
export interface KanbanConfig {
  /** ONEWRITER_REDIS_URL; else that of the `onewriter up` that runs on the data directory. */
  readonly redisUrl: string;
  /** ONEWRITER_DATA_DIR; default `./data`. */
  readonly dataDir: string;
  /** ONEWRITER_GROUP; else as redisUrl. */
  readonly group: string | undefined;
  /** ONEWRITER_DB_FILE; else as redisUrl. */
  readonly dbFile: string | undefined;
  /** ONEWRITER_GATEWAY_URL: to read through where a file cannot be opened here, as on a read-only mount. */
  readonly gatewayUrl: string | undefined;
  /** ONEWRITER_TOKEN: for the gateway. */
  readonly token: string | undefined;
  /** ONEWRITER_HOST */
  readonly host: string;
  /** ONEWRITER_DRAIN_MS: from SIGTERM to the end of the process, at most. */
  readonly drainMs: number;
  /** KANBAN_PORT; 0 is any free port. */
  readonly port: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the settings from environment variables. @throws OnewriterError MISCONFIGURED */
export function loadKanbanConfig(environment: Environment = process.env): KanbanConfig {
  const value = (name: string) => environment[name] || undefined;
  const port = Number(value('KANBAN_PORT') ?? 3000);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new OnewriterError('MISCONFIGURED', 'KANBAN_PORT is a port number, 0 to 65535.');
  }
  const drainMs = Number(value('ONEWRITER_DRAIN_MS') ?? 10_000);
  if (!Number.isInteger(drainMs) || drainMs < 1) {
    throw new OnewriterError('MISCONFIGURED', 'ONEWRITER_DRAIN_MS is a number of milliseconds.');
  }
  // npm runs scripts in the folder of their package; people mean the folder that they are in.
  const dataDir = resolve(value('INIT_CWD') ?? '.', value('ONEWRITER_DATA_DIR') ?? 'data');
  const running = value('ONEWRITER_REDIS_URL') ? {} : readRunFile(dataDir);
  const redisUrl = value('ONEWRITER_REDIS_URL') ?? running.redisUrl;
  if (redisUrl === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `Nothing runs on ${dataDir}: start Onewriter first (npm start), or set ONEWRITER_REDIS_URL.`,
    );
  }
  return {
    redisUrl,
    dataDir,
    group: value('ONEWRITER_GROUP') ?? running.group,
    dbFile: value('ONEWRITER_DB_FILE') ?? running.dbFile,
    gatewayUrl: value('ONEWRITER_GATEWAY_URL'),
    token: value('ONEWRITER_TOKEN'),
    drainMs,
    host: value('ONEWRITER_HOST') ?? '127.0.0.1',
    port,
  };
}

/** What `onewriter up` leaves in its data directory while it runs. */
function readRunFile(dataDir: string): { redisUrl?: string; group?: string; dbFile?: string } {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'onewriter.json'), 'utf8'));
  } catch {
    return {}; // none runs, or it is another user's: the caller says what to do
  }
}
