import { pauseTenant, readReason, resumeTenant } from '@onewriter/tenants';
import type { Parts } from '../parts.ts';
import { readField } from './request.ts';
import { actOnTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/pause`, `…/resume` */
export function addPauseRoutes(parts: Parts): void {
  const { app, redis, group, audit } = parts;

  app.post('/tenants/:tenant/pause', async c => {
    const text = await readField(c, 'reason');
    return actOnTenant(parts, c, 'pause', 'It could not be paused', async tenant => {
      const reason = readReason(text);
      await audit.record('tenant.pause', tenant, reason, () =>
        pauseTenant(redis, group, tenant, c.get('operator').subject ?? '', reason),
      );
    });
  });

  app.post('/tenants/:tenant/resume', c =>
    actOnTenant(parts, c, 'resume', 'It could not be resumed', tenant =>
      audit.record('tenant.resume', tenant, '', () => resumeTenant(redis, group, tenant)),
    ),
  );
}
