import {
  type BrokerStatus,
  DURABILITIES,
  type Durability,
  MAX_WORST_TENANTS,
  type StatusReplica,
  type StatusReplicaTenant,
} from '@onewriter/protocol';
import { formatAge, formatAgo, formatBytes, plural } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { icon } from './icon.ts';

const MEANINGS: Readonly<Record<Durability, string>> = {
  async: 'Callers are answered when the commit is on the disk; the replica follows.',
  sync: 'Callers are answered when the replica has the commit. While its store is away their writes are refused.',
  off: 'Nothing of it is replicated.',
};

/** The line of a tenant's page about its replica. */
export function replicaLine(
  tenant: string,
  durability: Durability | null,
  status: BrokerStatus | undefined,
  now: number,
): Html {
  const replica = status?.replica;
  const row = replica?.worst.find(worst => worst.tenant === tenant);
  const unsound = replica?.rehearsals?.failed.find(failed => failed.tenant === tenant);
  const state =
    durability === 'off'
      ? 'not replicated'
      : replica === undefined
        ? 'there is none (ONEWRITER_REPLICA_URL)'
        : row === undefined
          ? describeOthers(replica, now)
          : describeRow(row, now);
  const failed =
    unsound === undefined
      ? NOTHING
      : html` ${icon('critical')} <strong>Not sound: ${unsound.problems.join('; ')} (test restore ${formatAgo(now - unsound.at)}).</strong>`;
  return html`<p class="subline">Replica: ${state}.${failed} Durability: ${durability ?? 'that of the settings'}. <button type="button" data-dialog="durability-dialog">Change…</button>${replica === undefined ? NOTHING : html` <a class="button" href="/tenants/${tenant}/history">History…</a>`}</p>`;
}

/** What holds for every tenant that the status does not list. */
function describeOthers({ worst, rehearsals }: StatusReplica, now: number): string {
  const lag =
    worst.length < MAX_WORST_TENANTS
      ? 'up to date'
      : `at most ${formatAge(Math.min(...worst.map(({ lagMs }) => lagMs)))} behind`;
  const { oldestAt = null, unverified = 0 } = rehearsals ?? {};
  return oldestAt === null || unverified > 0
    ? lag
    : `${lag}, last test restore at most ${formatAge(now - oldestAt)} ago`;
}

function describeRow(
  { lagMs, lagCommits, lagBytes, gaps, verifiedMs }: StatusReplicaTenant,
  now: number,
): string {
  const lag =
    lagCommits === 0
      ? 'up to date'
      : `${formatAge(lagMs)} behind, ${plural(lagCommits, 'commit')}, ${formatBytes(lagBytes)}`;
  const verified =
    verifiedMs === undefined
      ? 'no sound test restore yet'
      : `last test restore ${formatAgo(now - verifiedMs)}`;
  return [lag, ...(gaps === 0 ? [] : [plural(gaps, 'gap')]), verified].join(', ');
}

/** The dialog behind its button. */
export function durabilityDialog(tenant: string, durability: Durability | null): Html {
  const option = (value: string, text: string) =>
    html`<option value="${value}"${value === (durability ?? '') ? html` selected` : NOTHING}>${text}</option>`;
  return html`<dialog id="durability-dialog" aria-labelledby="durability-title">
      <h2 id="durability-title">Durability of ${tenant}</h2>
      <ul>${DURABILITIES.map(name => html`<li><strong>${name}</strong>: ${MEANINGS[name]}</li>`)}</ul>
      <form method="post" action="/tenants/${tenant}/durability">
        <label for="durability">Durability</label>
        <select id="durability" name="durability">${option('', 'that of the settings')}${DURABILITIES.map(name => option(name, name))}</select>
        <div class="row"><button type="button" data-close>Cancel</button><button class="primary">Change</button></div>
      </form>
    </dialog>`;
}
