import { type QueueFacts, stateOf } from '@onewriter/tenants';
import type { NamePage } from '../tenants/tenant-search.ts';
import { formatAgo, formatCount, plural } from './format.ts';
import { nameHold } from './holder.ts';
import { type Html, html, NOTHING } from './html.ts';
import { chip } from './icon.ts';

/** Tenants of a page. */
export const TENANT_PAGE = 50;

/** What the list shows. */
export interface TenantListOptions {
  readonly search: string;
  readonly page: NamePage;
  /** From 1. */
  readonly number: number;
  readonly facts: readonly QueueFacts[];
  readonly now: number;
  readonly problem?: string | undefined;
}

/** Finds a tenant: those that were active last, or those whose name has what was searched for. */
export function tenantListPage({ search, page, number, facts, now, problem }: TenantListOptions): Html {
  const pages = Math.max(1, Math.ceil(page.total / TENANT_PAGE));
  const href = (to: number) =>
    `/tenants?${new URLSearchParams({ ...(search === '' ? {} : { q: search }), page: String(to) })}`;
  return html`<h1>Tenants</h1>
    <form class="card" method="get" action="/tenants" role="search">
      <label for="q">Tenant</label>
      <div class="row">
        <input id="q" name="q" type="search" value="${search}" placeholder="a part of its id" autocomplete="off" autocapitalize="none" spellcheck="false" autofocus />
        <button class="primary">Search</button>
      </div>
      ${problem === undefined ? NOTHING : html`<p role="alert">${problem}</p>`}
    </form>
    <section class="card" aria-labelledby="found">
      <h2 id="found">${search === '' ? 'Active last' : `“${search}”`}: ${plural(page.total, 'tenant')}</h2>
      ${
        facts.length === 0
          ? html`<p class="empty">${
              search === ''
                ? 'No tenant was ever written to. The first write makes one: npx onewriter sql demo "CREATE TABLE t(a)"'
                : html`None that was written to has that in its id. If its file was put in place and never written, open it by its whole id: <a href="/tenants/${search}">${search}</a>`
            }</p>`
          : html`<div class="scroll"><table>
              <thead><tr><th scope="col">Tenant</th><th scope="col">State</th><th scope="col" class="num">Jobs waiting</th><th scope="col" class="num">Active</th></tr></thead>
              <tbody>${facts.map(
                fact => html`<tr>
                  <th scope="row"><a href="/tenants/${fact.tenant}">${fact.tenant}</a></th>
                  <td>${tenantState(fact)}</td>
                  <td class="num">${formatCount(fact.waitingJobs + fact.activeJobs)}</td>
                  <td class="num">${fact.lastActivity === null ? '–' : formatAgo(now - fact.lastActivity)}</td>
                </tr>`,
              )}</tbody>
            </table></div>`
      }
      ${
        pages === 1
          ? NOTHING
          : html`<nav class="pages" aria-label="Pages of tenants">
              ${number > 1 ? html`<a href="${href(number - 1)}" rel="prev">Back</a>` : NOTHING}
              <span>Page ${number} of ${formatCount(pages)}</span>
              ${number < pages ? html`<a href="${href(number + 1)}" rel="next">More</a>` : NOTHING}
            </nav>`
      }
    </section>`;
}

/** A tenant's state in a word. */
export function tenantState({ holders, isReleased, parked, waitingJobs }: QueueFacts): Html {
  // The dashboard does not see files: one that waits for its first write looks like an active one.
  const facts = { hasFile: true, isHibernated: false, hasWork: false, isParked: parked !== null };
  const state = stateOf({ ...facts, holders, isReleased });
  if (holders.length > 0) return chip(waitingJobs > 0 ? 'warning' : 'info', nameHold(holders));
  return state === 'parked' ? chip('critical', state) : chip('good', state);
}
