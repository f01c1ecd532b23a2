import { OnewriterError } from '@onewriter/protocol';
import type { ConnectOptions, Onewriter } from './types.ts';

/**
 * Connects to Onewriter.
 *
 * @throws OnewriterError INVALID_ARGUMENT, MISCONFIGURED (options), QUEUE_UNAVAILABLE (Redis does not answer)
 */
export async function connect(options: ConnectOptions): Promise<Onewriter> {
  throw new OnewriterError('INTERNAL', `Not built yet: ${options.group ?? ''}`);
}
