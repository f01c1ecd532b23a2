import { formatBytes } from '@onewriter/files';
import type { StatusRehearsals, StatusReplica, StatusReplicaStore } from '@onewriter/protocol';
import { formatTable } from '../table.ts';

/** What `onewriter replica status` shows. */
export function formatReplica(replica: StatusReplica, now: number): string {
  const { stores, worst, rehearsals, failures = [], damaged } = replica;
  const rows = stores.map(store => [
    store.address,
    stateOf(store, now),
    ...[store.requests.put, store.requests.get, store.requests.delete, store.requests.list].map(String),
    formatBytes(store.bytesOut),
    formatBytes(store.bytesIn),
  ]);
  const columns = ['store', 'state', 'PUT', 'GET', 'DELETE', 'LIST', 'sent', 'received'];
  const behind = worst.filter(({ lagCommits, gaps }) => lagCommits > 0 || gaps > 0);
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
            row.verifiedMs === undefined ? '-' : time(row.verifiedMs),
          ]),
        )}`;
  const problems = [
    ...(rehearsals?.failed ?? []).map(
      ({ tenant, problems, at }) => `not sound  ${tenant}: ${problems.join('; ')} (${time(at)})`,
    ),
    ...(damaged?.tenants ?? []).map(
      tenant => `damaged    ${tenant}: the store changed it; it is stored again`,
    ),
    ...failures.map(
      ({ tenant, message, at }) => `failed     ${tenant === '' ? '' : `${tenant}: `}${message} (${time(at)})`,
    ),
  ];
  const lines = problems.map(line => `${line}\n`).join('');
  return `${formatTable(columns, rows, { maxCellWidth: 120 })}${factsOf(replica, now)}\n${lines}${table}`;
}

function stateOf({ ok, failingSince, error, copy }: StatusReplicaStore, now: number): string {
  if (!ok) return `fails for ${seconds(now - (failingSince ?? now))}: ${error ?? 'no answer'}`;
  if (copy === undefined || (copy.error === undefined && copy.behindPacks === 0)) return 'ok';
  const packs = copy.behindPacks === null ? '' : `, ${copy.behindPacks} packs`;
  return `${seconds(copy.behindMs)} behind${packs}${copy.error === undefined ? '' : `: ${copy.error}`}`;
}

function factsOf(
  { tenants, lagMs, lagBytes, packs, term, gaps, waitingJobs, rehearsals }: StatusReplica,
  now: number,
): string {
  const lag = lagBytes === 0 ? 'up to date' : `${seconds(lagMs)} behind, ${formatBytes(lagBytes)} to store`;
  return [
    `${tenants} tenants, ${lag}`,
    `pack ${packs} of term ${term}`,
    ...(gaps === 0 ? [] : [`${gaps} histories with a gap`]),
    ...(waitingJobs === 0 ? [] : [`${waitingJobs} jobs wait for it`]),
    ...(rehearsals === undefined ? [] : [rehearsalsOf(rehearsals, now)]),
  ].join('; ');
}

function rehearsalsOf(
  { lastAt, oldestAt, unverified, failedTenants }: StatusRehearsals,
  now: number,
): string {
  if (oldestAt === null) return 'no tenant was restored for a test yet';
  return [
    `last test restore ${ago(now - lastAt)}, the oldest ${ago(now - oldestAt)}`,
    ...(unverified === 0 ? [] : [`${unverified} tenants without one`]),
    ...(failedTenants === 0 ? [] : [`${failedTenants} not sound`]),
  ].join(', ');
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1_000).toFixed(1)} s`;
}

function ago(ms: number): string {
  const minutes = Math.max(0, Math.round(ms / 60_000));
  return minutes < 120 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}

function time(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19);
}
