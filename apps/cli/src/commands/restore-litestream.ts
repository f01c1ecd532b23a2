import { assertTenantId } from '@onewriter/protocol';
import { type LitestreamReport, parseReplicaUrl, putLitestream } from '@onewriter/replicator';
import { type PutOptions, putFromStore } from '../replica/put-from-store.ts';
import { readPoint } from '../replica/read-point.ts';
import { count } from '../table.ts';
import { findTarget, placeOf } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter restore --from-litestream`, as the command line gives them. */
export interface RestoreLitestreamOptions extends PutOptions {
  readonly fromLitestream?: string | undefined;
  readonly at?: string | undefined;
}

/** Makes a tenant of what Litestream 0.3 stored, or puts it in the place of the tenant's file, which is kept. */
export async function restoreFromLitestream(
  tenant: string,
  url: string,
  options: RestoreLitestreamOptions,
): Promise<number> {
  assertTenantId(tenant);
  const atMs = readTime(options.at ?? 'newest');
  const { address } = parseReplicaUrl(url);
  const target = findTarget(options.dataDir);
  return putFromStore(
    target,
    options,
    { tenant, detail: `from Litestream's ${address}` },
    request => putLitestream(placeOf(target), { ...request, url, tenant, atMs }),
    describe,
  );
}

/** Litestream numbers no commits. @throws UsageError */
function readTime(text: string): number | undefined {
  const point = readPoint(text);
  if (point.kind === 'newest') return undefined;
  if (point.kind === 'time') return point.ms;
  throw new UsageError('With --from-litestream, --at takes a time: its replicas number no commits.');
}

function describe(report: LitestreamReport): string {
  const { tenant, generation, storedMs, rows, tables, foreignKeyViolations, commitSeq } = report;
  const what = `${count(rows, 'row')} in ${count(tables, 'table')}`;
  const broken = foreignKeyViolations === 0 ? '' : `; ${foreignKeyViolations} rows break foreign keys`;
  const when = new Date(storedMs).toISOString();
  return `restored ${tenant} from generation ${generation}, stored ${when}: ${what}, commit ${commitSeq}${broken}`;
}
