import { assertTenantId } from '@onewriter/protocol';
import { type BranchReport, branchTenant, restorePoint as putPoint } from '@onewriter/replicator';
import { type PutOptions, putFromStore } from '../replica/put-from-store.ts';
import { readPoint } from '../replica/read-point.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { count } from '../table.ts';
import { findTarget, placeOf } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter restore <tenant> --at` and `onewriter branch`, as the command line gives them. */
export interface RestorePointOptions extends PutOptions {
  readonly at?: string | undefined;
  readonly as?: string | undefined;
  readonly from?: string | undefined;
}

/** Makes a new tenant of one as it was at a point. */
export async function branch(from: string, as: string, options: RestorePointOptions): Promise<number> {
  const { at = 'newest' } = options;
  assertTenantId(from);
  assertTenantId(as);
  const point = readPoint(at);
  const target = findTarget(options.dataDir);
  const access = replicaAccess(target.config, options.from);
  const isOwnStore = options.from === undefined;
  return putFromStore(
    target,
    options,
    { tenant: as, detail: `branch of ${from}, ${at}` },
    request => branchTenant(placeOf(target), { ...request, access, tenant: from, point, as, isOwnStore }),
    describe,
  );
}

/** Restores a tenant as it was at a point, out of the replica: as a new tenant, or in the place of its file, which is kept. */
export async function restorePoint(from: string, options: RestorePointOptions): Promise<number> {
  const { as, at = 'newest' } = options;
  assertTenantId(from);
  if (as !== undefined) assertTenantId(as);
  if (as !== undefined && options.replace) throw new UsageError('Give --as or --replace, not both.');
  const point = readPoint(at);
  const target = findTarget(options.dataDir);
  const access = replicaAccess(target.config, options.from);
  const detail = `from the replica, ${at} of ${from}`;
  return putFromStore(
    target,
    options,
    { tenant: as ?? from, detail },
    request => putPoint(placeOf(target), { ...request, access, tenant: from, point, as }),
    describe,
  );
}

function describe(report: BranchReport): string {
  const { tenant, from, pointCommitSeq, atMs, rows, tables, commitSeq } = report;
  const when = new Date(atMs).toISOString();
  if (rows === null || tables === null)
    return `branched ${tenant} as ${from} was at commit ${pointCommitSeq}, ${when}; its file comes with its first use`;
  const what = `${count(rows, 'row')} in ${count(tables, 'table')}`;
  return `restored ${tenant} as ${from} was at commit ${pointCommitSeq}, ${when}: ${what}, commit ${commitSeq}`;
}
