import { fileSize, timeoutForBytes } from '@onewriter/files';
import { assertTenantId } from '@onewriter/protocol';
import { withScratchPoint } from '@onewriter/replicator';
import { parseTimeout } from '../jobs/job-options.ts';
import { createProgress, describeRate } from '../progress.ts';
import { readPoint } from '../replica/read-point.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { findTarget, placeOf, requireDataDir, type Target } from '../target.ts';
import { type CompareOptions, diffWith } from './diff-with.ts';

/** Options of a comparison with a point. */
export interface PointOptions extends CompareOptions {
  /** Where the replica is. */
  readonly from?: string | undefined;
}

/** Options of `onewriter restore --rows`, as the command line gives them. */
export interface RowsOptions extends Pick<PointOptions, 'from' | 'timeout' | 'json'> {
  readonly dataDir?: string | undefined;
}

/** Compares a tenant's file with a point of the replica, which is restored to a file beside, and removed afterwards. */
export async function diffPoint(
  target: Target,
  tenant: string,
  at: string,
  options: PointOptions,
): Promise<number> {
  const point = readPoint(at);
  const access = replicaAccess(target.config, options.from);
  const place = placeOf(target);
  const timeoutMs = parseTimeout(options.timeout) ?? timeoutForBytes(fileSize(place, tenant));
  const limits = { timeoutMs: () => timeoutMs, memoryBytes: target.config.readMemoryBytes };
  const stopping = new AbortController();
  const { signal } = stopping;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stopping.abort());
  const progress = createProgress(options.json);
  const beganAt = performance.now();
  const onProgress = (bytes: number) => progress.update(describeRate(bytes, performance.now() - beganAt));
  try {
    const request = { access, tenant, point, limits, priority: 'usual', signal, onProgress } as const;
    return await withScratchPoint(place, request, ({ path, commitSeq, atMs }) => {
      progress.end();
      const name = `commit ${commitSeq}, ${new Date(atMs).toISOString()}`;
      return diffWith(target, tenant, { path, name }, options, signal);
    });
  } finally {
    progress.end();
  }
}

/** Rows of some tables come back as they were at a point; rows that were added since stay. @param tables with commas between them */
export function restoreRows(
  tenantName: string,
  at: string,
  tables: string,
  { from, timeout, dataDir, json }: RowsOptions,
): Promise<number> {
  const target = findTarget(dataDir);
  requireDataDir(target);
  const options = { tables, bringBack: 'removed,changed', from, timeout, json };
  return diffPoint(target, assertTenantId(tenantName), at, options);
}
