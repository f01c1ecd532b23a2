import { type Logger, pino, type TransportSingleOptions } from 'pino';

export type { Logger } from 'pino';

/**
 * A logger on standard error: JSON lines, or a human format on a terminal. Standard output stays free for what a
 * command answers.
 */
export function createLogger(name: string, level: string): Logger {
  const pretty: TransportSingleOptions = {
    target: 'pino-pretty',
    options: { destination: 2, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' },
  };
  return process.stderr.isTTY
    ? pino({ name, level, transport: pretty })
    : pino({ name, level }, pino.destination({ dest: 2, sync: true }));
}
