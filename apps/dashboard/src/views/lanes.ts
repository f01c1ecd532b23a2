import { type BrokerStatus, STATUS_BOUNDS, type StatusApart } from '@onewriter/protocol';
import { formatCount, formatShare, formatSpan, plural } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip } from './icon.ts';
import { bar } from './plot.ts';

/** The writer threads, and the process for jobs that may end their process. */
export function lanes({ lanes: all, apart, queue, tenants: { open, known } }: BrokerStatus): Html {
  return html`<h2>Lanes</h2>
    <p class="hint">Writer threads. Each tenant’s file belongs to one of them.</p>
    <table><thead><tr><th scope="col">Lane</th><th scope="col">Load</th><th scope="col" class="num">Tenants</th><th scope="col" class="num">Wait</th><th scope="col">At work on</th></tr></thead>
      <tbody>${all.map(lane => {
        const held = lane.tenantForMs > STATUS_BOUNDS.laneHeldMs;
        return html`<tr data-key="lane${lane.lane}"${held ? html` class="alarm"` : NOTHING}>
          <th scope="row">${lane.lane}${lane.spare ? ' (spare)' : ''}</th>
          <td class="load">${bar(lane.busyShare, lane.busyShare > 0.9 ? 'warning' : 'plain')}<span class="num">${formatShare(lane.busyShare)}</span></td>
          <td class="num">${formatCount(lane.openTenants)}</td>
          <td class="num">${formatCount(lane.waitingTenants)}</td>
          <td>${lane.tenant === null ? html`<span class="dim">idle</span>` : html`<a href="/tenants/${lane.tenant}">${lane.tenant}</a>${lane.tenantForMs > 500 ? ` for ${formatSpan(lane.tenantForMs)}` : ''}`}</td>
        </tr>`;
      })}${apart === undefined ? NOTHING : apartRow(apart)}</tbody></table>
    <dl class="facts">
      <div><dt>Jobs in Redis, with the broker</dt><dd>${formatCount(queue.waitingJobs)}, ${formatCount(queue.heldJobs)}</dd></div>
      <div><dt>Tenants with a session</dt><dd>${formatCount(open)}</dd></div>
      <div><dt>Tenants ever seen</dt><dd><a href="/tenants">${formatCount(known)}</a></dd></div>
    </dl>`;
}

function apartRow({
  running,
  tenant,
  tenantForMs,
  waitingTenants,
  restarts,
  replacements,
  spentForMs,
}: StatusApart): Html {
  const isHeld = tenantForMs > STATUS_BOUNDS.laneHeldMs && waitingTenants > 0;
  return html`<tr data-key="apart"${isHeld ? html` class="alarm"` : NOTHING}>
    <th scope="row">apart</th>
    <td>${running ? 'runs' : html`<span class="dim">not running</span>`}${restarts > 0 ? `, ended ${plural(restarts, 'time')}` : ''}</td>
    <td class="num"></td>
    <td class="num">${formatCount(waitingTenants)}</td>
    <td>${tenant === null ? html`<span class="dim">idle</span>` : html`<a href="/tenants/${tenant}">${tenant}</a>${tenantForMs > 500 ? ` for ${formatSpan(tenantForMs)}` : ''}`}${
      spentForMs > 0
        ? html` ${chip('warning', `${plural(replacements, 'replacement')} of the broker`)}`
        : NOTHING
    }</td>
  </tr>`;
}
