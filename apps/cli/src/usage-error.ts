import { OnewriterError } from '@onewriter/protocol';

/** The command line is wrong: nothing was done, and the exit code is {@link EXIT}.usage. */
export class UsageError extends OnewriterError {
  constructor(message: string, cause?: unknown) {
    super('INVALID_ARGUMENT', message, {}, cause);
  }
}
