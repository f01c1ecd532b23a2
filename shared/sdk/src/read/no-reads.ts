import { OnewriterError } from '@onewriter/protocol';
import type { LedgerReader } from '../settle/ledger.ts';
import type { Reads } from './reads.ts';

/** A client that was given no way to read: it writes, and its writes are settled by events alone. */
export class NoReads implements Reads, LedgerReader {
  readonly route = 'none';
  readonly openReaders = 0;

  get(): never {
    throw noWay();
  }

  all(): never {
    throw noWay();
  }

  allArrays(): never {
    throw noWay();
  }

  // biome-ignore lint/correctness/useYield: the interface wants a generator
  async *iterate(): AsyncGenerator<never, void, undefined> {
    throw noWay();
  }

  lookNow(): undefined {
    return undefined;
  }

  async look(): Promise<never> {
    throw noWay();
  }

  close(): void {}
}

function noWay(): OnewriterError {
  return new OnewriterError('MISCONFIGURED', 'To read, give connect() a dataDir or a gatewayUrl.');
}
