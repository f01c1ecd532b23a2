import { isEnded, type Operation, type OperationState } from '@onewriter/operations';
import { formatAgo, formatCount, formatSpan } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip, type Tone } from './icon.ts';
import { type Notice, noticeBox } from './notice.ts';
import { type Regions, region } from './regions.ts';

const TONES: Readonly<Record<OperationState, Tone>> = {
  queued: 'info',
  running: 'info',
  done: 'good',
  failed: 'critical',
  cancelled: 'warning',
  interrupted: 'warning',
};
const MAX_ROWS = 100;

/** Long work of all processes, the newest first. */
export function operationListPage(
  operations: readonly Operation[],
  now: number,
  notice: Notice | undefined,
): Html {
  return html`${notice === undefined ? NOTHING : noticeBox(notice)}
    <div class="row"><div><h1>Operations</h1>
      <p class="hint">Backups, restores and checks of all processes, and imports and exports that take long. The last 200 are kept, for 14 days.</p></div>
      <form method="post" action="/operations/backup"><button>Back up all tenants</button></form></div>
    ${region('operations', operationListRegions(operations, now))}`;
}

/** What changes on the page. */
export function operationListRegions(operations: readonly Operation[], now: number): Regions {
  const shown = operations.slice(0, MAX_ROWS);
  const table = html`<div class="scroll"><table>
      <thead><tr><th scope="col">What</th><th scope="col">State</th><th scope="col">Tenants</th><th scope="col">Progress</th><th scope="col">Who</th><th scope="col">Since</th><th scope="col"></th></tr></thead>
      <tbody>${shown.map(
        operation => html`<tr data-key="${operation.id}">
          <th scope="row"><a href="/operations/${operation.id}">${operation.kind}</a></th>
          <td>${stateChip(operation.state)}</td>
          <td>${tenantLinks(operation)}</td>
          <td>${progressText(operation)}</td>
          <td>${operation.who}</td>
          <td class="nowrap">${formatAgo(now - Date.parse(operation.createdAt))}</td>
          <td>${cancelForm(operation)}</td>
        </tr>`,
      )}</tbody>
    </table></div>`;
  const empty = html`<p class="empty">No operations yet. A backup, restore or check will appear here, whichever process carries it out.</p>`;
  return { operations: html`<section class="card">${shown.length === 0 ? empty : table}</section>` };
}

export function stateChip(state: OperationState): Html {
  return chip(TONES[state], state);
}

/** `3 of 10 tenants, 1.5 a second, 5 s left` */
export function progressText({ progress }: Operation): string {
  const { done, total, unit, perSecond, remainingMs } = progress;
  const rate = perSecond === null ? '' : `, ${formatCount(perSecond)} a second`;
  const left = remainingMs === null || remainingMs === 0 ? '' : `, ${formatSpan(remainingMs)} left`;
  return `${formatCount(done)}${total === null ? '' : ` of ${formatCount(total)}`} ${unit}${rate}${left}`;
}

/** The first tenants of an operation, as links. */
export function tenantLinks({ tenants }: Operation): Html {
  if (tenants === null) return html`all`;
  const shown = tenants.slice(0, 3).map(tenant => html`<a href="/tenants/${tenant}">${tenant}</a> `);
  return html`${shown}${tenants.length > 3 ? `and ${tenants.length - 3} more` : NOTHING}`;
}

/** The button that stops it; nothing where it has ended. */
export function cancelForm({ id, state, cancelledBy }: Operation): Html {
  if (isEnded(state)) return NOTHING;
  if (cancelledBy !== null) return html`<span class="dim">is asked to stop</span>`;
  return html`<form method="post" action="/operations/${id}/cancel"><button class="danger">Cancel</button></form>`;
}
