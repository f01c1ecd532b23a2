import {
  type DataPlace,
  fileSize,
  type LoadFormat,
  type LoadReport,
  timeoutForBytes,
} from '@onewriter/files';
import { runLoad, summarizeLoad } from '@onewriter/operations/files';
import type { Redis } from 'ioredis';
import type { StreamRecord } from '../operations/record-stream.ts';
import type { Owner } from '../security/shares.ts';
import { Turns } from '../security/turns.ts';

/** A file that is to be loaded into a tenant. */
export interface LoaderRequest {
  readonly tenant: string;
  readonly source: string;
  readonly bytes: number;
  readonly format: LoadFormat;
  /** Its name, for people. */
  readonly name: string;
  readonly replace: boolean;
  readonly idempotencyKey: string | undefined;
  readonly who: string;
  readonly owner: Owner;
  readonly record: StreamRecord;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** Loads a file into a tenant. @throws OnewriterError as `loadTenant` of `@onewriter/files`; RATE_LIMITED */
export type Loader = (request: LoaderRequest) => Promise<LoadReport>;

/** Settings of {@link createLoader}. */
export interface LoaderOptions {
  readonly redis: Redis;
  readonly place: DataPlace;
  /** Limit of each process. */
  readonly memoryBytes: number;
  /** Whether a dump makes a tenant that is not there. */
  readonly createTenants: boolean;
  /** @throws OnewriterError where a tenant may not be written now */
  readonly assertMayWrite: (tenant: string) => Promise<void>;
  /** A file was put in a tenant's place. */
  readonly onLoaded: (tenant: string) => void;
}

/** Loads at the same time: each has a process that keeps one CPU and the disk busy. */
const MAX_RUNNING = 2;
const MAX_CALLERS = 16;

/** A {@link Loader} of this gateway. */
export function createLoader(options: LoaderOptions): Loader {
  const { redis, place, memoryBytes, createTenants, assertMayWrite, onLoaded } = options;
  const turns = new Turns({ what: 'loads', callers: MAX_CALLERS, turns: MAX_RUNNING, turnsOfOwner: 1 });
  return async ({ owner, record, bytes, ...request }) => {
    const waiting = turns.enter(owner);
    try {
      await waiting.turn(request.signal);
      const base = request.replace ? 0 : fileSize(place, request.tenant);
      const limits = { timeoutMs: () => timeoutForBytes(bytes + base), memoryBytes };
      // It may have been paused since the upload began.
      await assertMayWrite(request.tenant);
      // An admin alone may replace, and load a database.
      const mayCreate = createTenants || request.replace || request.format === 'sqlite';
      const report = await runLoad(record, place, bytes, { ...request, redis, limits, mayCreate });
      // Here, because no caller may wait for the answer any more: the record must say that it is done.
      record.end(summarizeLoad(report));
      onLoaded(request.tenant);
      return report;
    } finally {
      waiting.leave();
    }
  };
}
