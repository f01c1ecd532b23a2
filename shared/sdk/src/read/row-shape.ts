import { OnewriterError } from '@onewriter/protocol';
import type { RowShape } from '../settle/decode-result.ts';
import type { RowMode, RowOptions } from '../types.ts';

/** The shape that a caller asks for. @throws OnewriterError INVALID_ARGUMENT */
export function shapeOf<Mode extends RowMode>(options: RowOptions<Mode>): RowShape<Mode> {
  const mode = options.rowMode ?? 'object';
  if (mode !== 'object' && mode !== 'array') {
    throw new OnewriterError('INVALID_ARGUMENT', 'rowMode is object or array.');
  }
  return { mode: mode as Mode, safeIntegers: options.safeIntegers === true };
}
