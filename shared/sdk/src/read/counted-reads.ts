import type { ClientMetrics } from '../client-metrics.ts';
import type { DataDirGuard } from '../redis/data-dir-guard.ts';
import type { ImmediateAnswer, LedgerAnswer, LedgerReader } from '../settle/ledger.ts';
import type { SqlRow } from '../types.ts';
import { now } from '../waits.ts';
import type { ReadRequest, Reads, RowsWithColumns } from './reads.ts';

/**
 * Counts reads on their way to another kind of {@link Reads}. An answer that is there at once stays one. Looks into the
 * ledger are no reads of anybody's.
 */
export class CountedReads implements Reads, LedgerReader {
  readonly route: Reads['route'];
  readonly #reads: Reads & LedgerReader;
  readonly #metrics: ClientMetrics;
  readonly #guard: Pick<DataDirGuard, 'assertOwn'> | undefined;

  /** @param guard of the files that are read */
  constructor(reads: Reads & LedgerReader, metrics: ClientMetrics, guard?: Pick<DataDirGuard, 'assertOwn'>) {
    this.#guard = guard;
    this.route = reads.route;
    this.#reads = reads;
    this.#metrics = metrics;
  }

  get openReaders(): number {
    return this.#reads.openReaders;
  }

  get(request: ReadRequest): SqlRow | undefined | Promise<SqlRow | undefined> {
    const startedAt = this.#metrics.beginRead() ? now() : 0;
    try {
      this.#guard?.assertOwn();
      return this.#end(this.#reads.get(request), startedAt);
    } catch (error) {
      this.#metrics.failed(error);
      throw error;
    }
  }

  all(request: ReadRequest): SqlRow[] | Promise<SqlRow[]> {
    const startedAt = this.#metrics.beginRead() ? now() : 0;
    try {
      this.#guard?.assertOwn();
      return this.#end(this.#reads.all(request), startedAt);
    } catch (error) {
      this.#metrics.failed(error);
      throw error;
    }
  }

  allArrays(request: ReadRequest): RowsWithColumns | Promise<RowsWithColumns> {
    const startedAt = this.#metrics.beginRead() ? now() : 0;
    try {
      this.#guard?.assertOwn();
      return this.#end(this.#reads.allArrays(request), startedAt);
    } catch (error) {
      this.#metrics.failed(error);
      throw error;
    }
  }

  async *iterate(request: ReadRequest): AsyncGenerator<SqlRow, void, undefined> {
    // Not timed: how long it takes is up to the loop that fetches the rows.
    this.#metrics.reads++;
    try {
      this.#guard?.assertOwn();
      yield* this.#reads.iterate(request);
    } catch (error) {
      this.#metrics.failed(error);
      throw error;
    }
  }

  lookNow(tenant: string, jobId: string): ImmediateAnswer | undefined {
    return this.#reads.lookNow(tenant, jobId);
  }

  look(
    tenant: string,
    jobId: string,
    indexes: readonly number[],
    signal?: AbortSignal,
  ): Promise<LedgerAnswer> {
    return this.#reads.look(tenant, jobId, indexes, signal);
  }

  close(): void {
    this.#reads.close();
  }

  #end<Answer>(answer: Answer, startedAt: number): Answer {
    if (answer instanceof Promise) {
      answer.then(
        () => this.#time(startedAt),
        error => this.#metrics.failed(error),
      );
    } else this.#time(startedAt);
    return answer;
  }

  #time(startedAt: number): void {
    if (startedAt !== 0) this.#metrics.timedRead(now() - startedAt);
  }
}
