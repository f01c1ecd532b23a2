import { OnewriterError } from '@onewriter/protocol';

/** Adds to an error which statement of the transaction it is about. */
export function atStatement<T>(statementIndex: number, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    throw new OnewriterError(error.code, error.message, { ...error.details, statementIndex }, error);
  }
}
