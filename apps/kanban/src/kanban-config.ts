import { OnewriterError } from '@onewriter/protocol';

/** Settings of the kanban server. The first four are those of every Onewriter process. */
export interface KanbanConfig {
  /** ONEWRITER_REDIS_URL */
  readonly redisUrl: string;
  /** ONEWRITER_DATA_DIR */
  readonly dataDir: string;
  /** ONEWRITER_GROUP */
  readonly group: string | undefined;
  /** ONEWRITER_DB_FILE */
  readonly dbFile: string | undefined;
  /** ONEWRITER_HOST */
  readonly host: string;
  /** KANBAN_PORT; 0 is any free port. */
  readonly port: number;
}

/** Reads the settings from environment variables. @throws OnewriterError MISCONFIGURED */
export function loadKanbanConfig(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): KanbanConfig {
  const value = (name: string) => environment[name] || undefined;
  const port = Number(value('KANBAN_PORT') ?? 3000);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new OnewriterError('MISCONFIGURED', 'KANBAN_PORT is a port number, 0 to 65535.');
  }
  return {
    redisUrl: value('ONEWRITER_REDIS_URL') ?? 'redis://127.0.0.1:6379',
    dataDir: value('ONEWRITER_DATA_DIR') ?? './data',
    group: value('ONEWRITER_GROUP'),
    dbFile: value('ONEWRITER_DB_FILE'),
    host: value('ONEWRITER_HOST') ?? '127.0.0.1',
    port,
  };
}
