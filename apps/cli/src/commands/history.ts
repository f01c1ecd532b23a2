import { formatBytes } from '@onewriter/files';
import { assertTenantId, type HistoryPoint, OnewriterError } from '@onewriter/protocol';
import { openReplica, openReplicaReader } from '@onewriter/replicator';
import { replicaAccess } from '../replica/replica-access.ts';
import { formatTable } from '../table.ts';
import { findTarget } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter history`, as the command line gives them. */
export interface HistoryOptions {
  readonly from?: string | undefined;
  readonly limit?: string | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 10_000;

/** Lists the points that a tenant can be restored to, the newest first. */
export async function history(tenant: string, options: HistoryOptions): Promise<number> {
  assertTenantId(tenant);
  const limit = readLimit(options.limit);
  const { config } = findTarget(options.dataDir);
  const { store, keys } = await openReplica(replicaAccess(config, options.from));
  try {
    const points = await openReplicaReader(store, keys).history(tenant, limit);
    if (points.length === 0) {
      throw new OnewriterError('TENANT_NOT_FOUND', `The replica has nothing of tenant ${tenant}.`, {
        tenant,
      });
    }
    process.stdout.write(options.json ? `${JSON.stringify(points)}\n` : asText(tenant, points));
    return 0;
  } finally {
    await store.close();
  }
}

/** What each kind of segment is to people. */
const KINDS: Readonly<Record<HistoryPoint['kind'], string>> = {
  pages: 'commits',
  full: 'whole file',
  base: 'branched off',
  deleted: 'deleted',
};

function asText(tenant: string, points: readonly HistoryPoint[]): string {
  const rows = points.map(point => [
    time(point.toMs),
    point.fromSeq === point.toSeq ? String(point.toSeq) : `${point.fromSeq} to ${point.toSeq}`,
    point.each ? 'each' : 'the last',
    formatBytes(point.bytes),
    KINDS[point.kind],
    ...describeWriters(point),
  ]);
  const table = formatTable(
    ['until (UTC)', 'commits', 'addressable', 'stored', 'what', 'writes', 'kinds', 'who'],
    rows,
  );
  return `${table}Go back: onewriter restore ${tenant} --at ${points[0]!.toSeq} --as ${tenant}-then\n`;
}

function describeWriters({ written }: HistoryPoint): readonly [string, string, string] {
  if (written === undefined) return ['', '', ''];
  const { writes, kinds, by } = written;
  const named = by.reduce((sum, each) => sum + each.writes, 0);
  const names = by.map(each => (by.length === 1 ? each.who : `${each.who} (${each.writes})`));
  if (named < writes) names.push(`others (${writes - named})`);
  return [String(writes), kinds.join(' '), names.join(', ')];
}

function time(ms: number): string {
  return new Date(ms).toISOString().slice(0, 23).replace('T', ' ');
}

function readLimit(text: string | undefined): number {
  const limit = text === undefined ? DEFAULT_LIMIT : Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw new UsageError(`--limit takes a number from 1 to ${MAX_LIMIT}.`);
}
