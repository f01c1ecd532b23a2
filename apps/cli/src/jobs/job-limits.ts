import { statSync } from 'node:fs';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { Target } from '../target.ts';
import { UsageError } from '../usage-error.ts';
import type { JobLimits } from './job-processes.ts';

/** For a small file: an honest schema needs seconds. */
const BASE_MS = 10 * 60_000;
/** A slow disk reads so much in a ms, with indexes and rows in no order. */
const BYTES_PER_MS = 2 * 1024;

/** What the job of a tenant may take. @param timeout `--timeout`, in seconds; default: by the size of its file @throws UsageError */
export function jobLimits(target: Target, timeout: string | undefined): JobLimits {
  const givenMs = parseTimeout(timeout);
  return {
    timeoutMs: tenant => givenMs ?? BASE_MS + sizeOf(target, tenant) / BYTES_PER_MS,
    memoryBytes: target.config.readMemoryBytes,
  };
}

function parseTimeout(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const ms = Number(seconds) * 1_000;
  // Node's timers take no more.
  if (ms > 0 && ms < 2 ** 31) return ms;
  throw new UsageError('--timeout is a number of seconds above 0.');
}

function sizeOf({ dataDir, dbFile }: Target, tenant: string): number {
  const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
  // Where there is no file its job says so.
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
