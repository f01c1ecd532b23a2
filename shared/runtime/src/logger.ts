import { boundMessage } from '@onewriter/protocol';
import { type Logger, pino, type SerializedError, type TransportSingleOptions } from 'pino';

export type { Logger } from 'pino';

/** Characters of a stack that are logged. */
const MAX_STACK_LENGTH = 8_000;

/** Messages of errors, and of their causes, quote names and tokens of tenants' SQL whole, which may be megabytes. */
const serializers = {
  err: (error: Error): SerializedError => {
    const serialized = pino.stdSerializers.err(error);
    if (typeof serialized?.message !== 'string') return serialized;
    const { message, stack } = serialized;
    return Object.assign(serialized, { message: boundMessage(message), stack: boundStack(stack) });
  },
};

function boundStack(stack: string | undefined): string | undefined {
  if (stack === undefined || stack.length <= MAX_STACK_LENGTH) return stack;
  // Each message may be long, and where the error was thrown stands behind it: its long lines are cut one by one.
  return stack.split('\n').map(boundMessage).join('\n').slice(0, MAX_STACK_LENGTH).toWellFormed();
}

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
    ? pino({ name, level, serializers, transport: pretty })
    : pino({ name, level, serializers }, pino.destination({ dest: 2, sync: true }));
}
