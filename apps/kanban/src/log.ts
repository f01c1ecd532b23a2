import type { SdkLogger } from '@onewriter/sdk';

function write(level: string, facts: object, message: string): void {
  const readable = Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [
      name,
      value instanceof Error ? (value.stack ?? value.message) : value,
    ]),
  );
  const line = { level, time: new Date().toISOString(), name: 'kanban', message, ...readable };
  process.stderr.write(`${JSON.stringify(line)}\n`);
}

/** JSON lines on standard error. */
export const log = {
  info: (facts, message) => write('info', facts, message),
  warn: (facts, message) => write('warn', facts, message),
  error: (facts, message) => write('error', facts, message),
} satisfies SdkLogger;
