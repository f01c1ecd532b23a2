import type { Parts } from '../parts.ts';
import { callOf } from './request.ts';
import { actOnTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/hibernate`, `…/wake`. The gateway writes down who asked for it. */
export function addHibernateRoutes(parts: Parts): void {
  const { app, gateway } = parts;

  app.post('/tenants/:tenant/hibernate', c =>
    actOnTenant(parts, c, 'hibernate', 'It was not hibernated', tenant =>
      gateway.hibernate(tenant, callOf(c)),
    ),
  );

  app.post('/tenants/:tenant/wake', c =>
    actOnTenant(parts, c, 'wake', 'Its file did not come', tenant => gateway.wake(tenant, callOf(c))),
  );
}
