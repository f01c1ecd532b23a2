import type { WireError } from '@onewriter/protocol';

/** Tells an error in one line on standard error. */
export function printError({ code, message }: Pick<WireError, 'code' | 'message'>): void {
  process.stderr.write(`onewriter: ${code} ${message.replace(/\s*\n\s*/g, ' ')}\n`);
}
