import { OnewriterError, type PragmaAnswer } from '@onewriter/protocol';
import type { SqlRowArray } from '../types.ts';
import { assertNotAborted } from '../waits.ts';
import type { ReadRequest, Reads } from './reads.ts';

/** What a PRAGMA is answered with. */
export interface AnsweredPragma {
  readonly columns: readonly string[];
  /** @param safeIntegers every integer is a bigint */
  rows(safeIntegers: boolean): SqlRowArray[];
}

/**
 * Answers a PRAGMA that is so already. Only what depends on the file is looked up in it: drivers send such PRAGMAs when they
 * connect, before a new tenant has a file.
 * @throws OnewriterError STATEMENT_NOT_ALLOWED where it is not so; as of a read
 */
export async function answerPragma(
  reads: Reads,
  { columns, row, verify, refusal }: PragmaAnswer,
  { tenant, options }: Pick<ReadRequest, 'tenant' | 'options'>,
): Promise<AnsweredPragma> {
  assertNotAborted(options.signal);
  if (verify !== undefined && (await reads.get({ tenant, sql: verify, params: [], options })) === undefined) {
    throw new OnewriterError('STATEMENT_NOT_ALLOWED', refusal ?? 'This PRAGMA is not allowed.', { tenant });
  }
  const exact = (value: string | number) => (typeof value === 'number' ? BigInt(value) : value);
  return {
    columns,
    rows: safeIntegers => (columns.length === 0 ? [] : [safeIntegers ? row.map(exact) : [...row]]),
  };
}
