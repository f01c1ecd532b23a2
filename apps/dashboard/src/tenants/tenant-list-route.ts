import { TENANT_ID_PATTERN } from '@onewriter/protocol';
import { readQueueFacts } from '@onewriter/tenants';
import type { Parts } from '../parts.ts';
import { layout } from '../views/layout.ts';
import { TENANT_PAGE, tenantListPage } from '../views/tenant-list.ts';
import { TenantSearch } from './tenant-search.ts';

const MAX_SEARCH_LENGTH = 63;

/** `GET /tenants?q=&page=` */
export function addTenantList({ app, redis, group }: Parts): void {
  const search = new TenantSearch(redis, group);

  app.get('/tenants', async c => {
    const text = (c.req.query('q') ?? '').trim().toLowerCase().slice(0, MAX_SEARCH_LENGTH);
    const number = Math.max(1, Math.min(10_000, Number.parseInt(c.req.query('page') ?? '1', 10) || 1));
    const page = await search.find(text, (number - 1) * TENANT_PAGE, TENANT_PAGE);
    // Its whole id is what was meant.
    if (page.names.length === 1 && page.names[0] === text) return c.redirect(`/tenants/${text}`);
    const problem =
      page.total === 0 && text !== '' && !TENANT_ID_PATTERN.test(text)
        ? 'Ids of tenants are made of a-z, 0-9 and inner hyphens.'
        : undefined;
    const facts = await readQueueFacts(
      redis,
      group,
      page.names.filter(name => TENANT_ID_PATTERN.test(name)),
    );
    const content = tenantListPage({ search: text, page, number, facts, now: Date.now(), problem });
    return c.html(layout({ title: 'Tenants', place: 'tenants', group }, content));
  });
}
