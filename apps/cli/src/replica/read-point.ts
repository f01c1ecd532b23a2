import { isOnewriterError } from '@onewriter/protocol';
import { type Point, parsePoint } from '@onewriter/replicator';
import { UsageError } from '../usage-error.ts';

/** The point that `--at` names. @throws UsageError */
export function readPoint(text: string): Point {
  try {
    return parsePoint(text);
  } catch (error) {
    if (isOnewriterError(error, 'INVALID_ARGUMENT')) throw new UsageError(`--at: ${error.message}`);
    throw error;
  }
}
