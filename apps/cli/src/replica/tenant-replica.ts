import { formatBytes } from '@onewriter/files';
import { MAX_WORST_TENANTS, type StatusReplica } from '@onewriter/protocol';

/** How far a tenant is replicated. Null: not known. */
export interface TenantReplicaFacts {
  readonly tenant: string;
  /** The newest commit that is stored, and when it was made. */
  readonly commitSeq: number;
  readonly commitAt: number;
  /** Not stored yet. */
  readonly lagCommits: number | null;
  readonly lagBytes: number | null;
  /** At most, where the bytes are not known. */
  readonly lagMs: number;
  /** Since the broker leads. */
  readonly gaps: number | null;
  /** The last restore for a test; its problems are empty where it was sound. */
  readonly verifiedAt: number | null;
  readonly problems: readonly string[];
}

/** What is asked where the status does not list the tenant. */
export interface TenantReplicaSources {
  /** The newest commit in the store. @throws OnewriterError TENANT_NOT_FOUND where it has none */
  readonly stored: () => Promise<{ readonly commitSeq: number; readonly commitAt: number }>;
  /** The newest commit in the tenant's file; undefined where it is not on this machine. */
  readonly inFile: () => number | undefined;
  /** What the broker last found, as kept in the data directory; undefined where it is not on this machine. */
  readonly verified: () =>
    | { readonly ok: boolean; readonly problems: readonly string[]; readonly atMs: number }
    | undefined;
}

/** Finds out how far a tenant is replicated. @throws OnewriterError as its sources */
export async function findTenantReplica(
  tenant: string,
  { worst, rehearsals }: StatusReplica,
  { stored, inFile, verified }: TenantReplicaSources,
): Promise<TenantReplicaFacts> {
  const failed = rehearsals?.failed.find(each => each.tenant === tenant);
  const row = worst.find(each => each.tenant === tenant);
  const last = failed === undefined ? verified() : { ok: false, problems: failed.problems, atMs: failed.at };
  const test = { verifiedAt: row?.verifiedMs ?? last?.atMs ?? null, problems: last?.problems ?? [] };
  if (row !== undefined) {
    const { commitSeq, commitAt, lagCommits, lagBytes, lagMs, gaps } = row;
    return { tenant, commitSeq, commitAt, lagCommits, lagBytes, lagMs, gaps, ...test };
  }
  const newest = inFile();
  const { commitSeq, commitAt } = await stored();
  if (worst.length < MAX_WORST_TENANTS) {
    return { tenant, commitSeq, commitAt, lagCommits: 0, lagBytes: 0, lagMs: 0, gaps: 0, ...test };
  }
  const lagCommits = newest === undefined ? null : Math.max(0, newest - commitSeq);
  const lagMs = lagCommits === 0 ? 0 : Math.min(...worst.map(each => each.lagMs));
  return { tenant, commitSeq, commitAt, lagCommits, lagBytes: null, lagMs, gaps: null, ...test };
}

/** A line for each fact. */
export function formatTenantReplica({
  tenant,
  commitSeq,
  commitAt,
  lagCommits,
  lagBytes,
  lagMs,
  gaps,
  verifiedAt,
  problems,
}: TenantReplicaFacts): string {
  const atMost = lagBytes === null ? 'at most ' : '';
  const behind = [
    `${atMost}${(lagMs / 1_000).toFixed(1)} s`,
    ...(lagCommits === null ? [] : [`${lagCommits} commits`]),
    ...(lagBytes === null ? [] : [formatBytes(lagBytes)]),
  ].join(', ');
  const sound = problems.length === 0 ? 'sound' : `not sound: ${problems.join('; ')}`;
  const lines = [
    ['tenant', tenant],
    ['stored', `commit ${commitSeq} of ${time(commitAt)}`],
    ['behind', lagCommits === 0 ? 'up to date' : behind],
    ['gaps', gaps === null ? 'not known' : String(gaps)],
    ['test', verifiedAt === null ? 'never restored for a test' : `restored ${time(verifiedAt)}, ${sound}`],
  ];
  return lines.map(([name, value]) => `${name!.padEnd(8)}${value}\n`).join('');
}

function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
