import { statSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { findLog } from '../own/exclusively.ts';

/** Changes with a file that nothing has open. */
export function stampOf(source: string): string {
  const { size, mtimeNs, ino } = statSync(source, { bigint: true });
  return `${ino}-${size}-${mtimeNs}-${findLog(source) ?? ''}`;
}

export function sourceChanged(source: string): OnewriterError {
  return new OnewriterError('DATABASE_BUSY', `${source} changed meanwhile: end the programs that write it.`);
}
