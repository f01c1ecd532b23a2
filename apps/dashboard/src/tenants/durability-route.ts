import { isDurability } from '@onewriter/protocol';
import { setDurability } from '@onewriter/tenants';
import type { Parts } from '../parts.ts';
import { readField } from './request.ts';
import { actOnTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/durability` */
export function addDurabilityRoute(parts: Parts): void {
  const { app, redis, group, audit } = parts;

  app.post('/tenants/:tenant/durability', async c => {
    const text = await readField(c, 'durability');
    const durability = isDurability(text) ? text : undefined;
    return actOnTenant(parts, c, 'durability', 'Its durability could not be changed', tenant =>
      audit.record('tenant.set', tenant, `durability ${durability ?? 'default'}`, () =>
        setDurability(redis, group, tenant, durability),
      ),
    );
  });
}
