import type { AuditEntry } from '@onewriter/runtime';
import { formatTime } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip } from './icon.ts';

/** Entries of a page. */
export const AUDIT_PAGE = 50;

/** What people did, the newest first. */
export function auditPage(entries: readonly AuditEntry[], before: string | undefined): Html {
  return html`<div><h1>Audit</h1>
      <p class="hint">What people with access <code>admin</code> did, here, through the gateway and on the command line. The log of each process has it, too.</p></div>
    <section class="card">
      ${
        entries.length === 0
          ? html`<p class="empty">${before === undefined ? 'No changes yet. Pausing a tenant or dropping a dead letter will appear here.' : 'There is nothing older.'}</p>`
          : html`<div class="scroll"><table>
              <thead><tr><th scope="col">When (UTC)</th><th scope="col">What</th><th scope="col">Tenant</th><th scope="col">Outcome</th><th scope="col">Who</th><th scope="col">From</th></tr></thead>
              <tbody>${entries.map(
                entry => html`<tr>
                  <td class="nowrap">${formatTime(Date.parse(entry.at))}</td>
                  <td><code>${entry.action}</code>${entry.detail === undefined ? NOTHING : html`<br /><span class="dim">${entry.detail}</span>`}</td>
                  <td>${entry.tenant === '' ? NOTHING : html`<a href="/tenants/${entry.tenant}">${entry.tenant}</a>`}</td>
                  <td>${entry.outcome === 'ok' ? chip('good', 'done') : chip('critical', entry.outcome)}</td>
                  <td>${entry.subject === '' ? html`<span class="dim">token</span> <code>${entry.token}</code>` : entry.subject}</td>
                  <td class="dim">${entry.address}</td>
                </tr>`,
              )}</tbody>
            </table></div>`
      }
      <p class="pages">
        ${before === undefined ? NOTHING : html`<a href="/audit">Newest</a>`}
        ${entries.length < AUDIT_PAGE ? NOTHING : html`<a href="/audit?before=${entries.at(-1)!.id}">Older</a>`}
      </p>
    </section>`;
}
