import { statSync } from 'node:fs';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { DataPlace } from '../data-place.ts';

/** What a job may take: the schema of a tenant can make a check of its file as long and as large as it likes. */
export interface JobLimits {
  /** How long the job of a tenant may take, in ms; it is stopped then. */
  readonly timeoutMs: (tenant: string) => number;
  /** Memory of a process; an allocation beyond fails inside it. */
  readonly memoryBytes: number;
}

/** For a small file: an honest schema needs seconds. */
const BASE_MS = 10 * 60_000;
/** A slow disk reads so much in a ms, with indexes and rows in no order. */
const BYTES_PER_MS = 2 * 1024;

/** How long work on a file may take, by its size. */
export function timeoutForBytes(bytes: number): number {
  return BASE_MS + bytes / BYTES_PER_MS;
}

/** What the job of a tenant may take. @param givenMs for each tenant; default: by the size of its file */
export function jobLimits(place: DataPlace, memoryBytes: number, givenMs?: number | undefined): JobLimits {
  return { timeoutMs: tenant => givenMs ?? timeoutForBytes(fileSize(place, tenant)), memoryBytes };
}

/** Size of a tenant's file; 0 where there is none, which its job reports. */
export function fileSize({ dataDir, dbFile }: DataPlace, tenant: string): number {
  return (
    statSync(realDatabasePath(tenantFile(dataDir, tenant, dbFile)), { throwIfNoEntry: false })?.size ?? 0
  );
}
