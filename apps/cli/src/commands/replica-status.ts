import { formatBytes } from '@onewriter/files';
import { OnewriterError, type StatusReplica } from '@onewriter/protocol';
import { readGroupStatus } from '@onewriter/runtime';
import { EXIT } from '../exit-codes.ts';
import { withRedis } from '../open-redis.ts';
import { formatTable } from '../table.ts';
import { findRemoteTarget, type PlaceOptions } from '../target.ts';

/** Options of `onewriter replica status`. */
export interface ReplicaStatusOptions extends PlaceOptions {
  readonly json?: boolean | undefined;
}

/** Shows the stores, and the tenants that are most behind. @returns 3 where nothing may wait for the replica */
export async function replicaStatus(options: ReplicaStatusOptions): Promise<number> {
  const target = findRemoteTarget(options);
  const { status, readAt } = await withRedis(target, redis => readGroupStatus(redis, target.group));
  if (status === undefined) {
    throw new OnewriterError('TENANT_UNAVAILABLE', 'No broker reports: onewriter status says why.');
  }
  const { replica } = status;
  if (replica === undefined) {
    throw new OnewriterError(
      'REPLICA_UNAVAILABLE',
      'The broker replicates nothing: ONEWRITER_REPLICA_URL is not set, or it leads since a moment ago.',
    );
  }
  process.stdout.write(options.json ? `${JSON.stringify(replica)}\n` : asText(replica, readAt));
  return replica.available ? EXIT.ok : EXIT.found;
}

function asText(replica: StatusReplica, now: number): string {
  const stores = replica.stores.map(({ address, ok, failingSince, error, requests, bytesOut, bytesIn }) => [
    address,
    ok ? 'ok' : `fails for ${seconds(now - (failingSince ?? now))}: ${error ?? 'no answer'}`,
    ...[requests.put, requests.get, requests.delete, requests.list].map(String),
    formatBytes(bytesOut),
    formatBytes(bytesIn),
  ]);
  const lag =
    replica.lagBytes === 0
      ? 'up to date'
      : `${seconds(replica.lagMs)} behind, ${formatBytes(replica.lagBytes)} to store`;
  const facts = [
    `${replica.tenants} tenants, ${lag}`,
    `pack ${replica.packs} of term ${replica.term}`,
    ...(replica.gaps === 0 ? [] : [`${replica.gaps} histories with a gap`]),
    ...(replica.waitingJobs === 0 ? [] : [`${replica.waitingJobs} jobs wait for it`]),
  ];
  const behind = replica.worst.filter(({ lagCommits, gaps }) => lagCommits > 0 || gaps > 0);
  const table =
    behind.length === 0
      ? ''
      : `\n${formatTable(
          ['tenant', 'behind', 'commits', 'size', 'gaps', 'stored up to', 'last test restore'],
          behind.map(row => [
            row.tenant,
            seconds(row.lagMs),
            String(row.lagCommits),
            formatBytes(row.lagBytes),
            String(row.gaps),
            `commit ${row.commitSeq}`,
            row.verifiedMs === undefined ? '-' : new Date(row.verifiedMs).toISOString().slice(0, 19),
          ]),
        )}`;
  const columns = ['store', 'state', 'PUT', 'GET', 'DELETE', 'LIST', 'sent', 'received'];
  return `${formatTable(columns, stores, { maxCellWidth: 120 })}${facts.join('; ')}\n${table}`;
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1_000).toFixed(1)} s`;
}
