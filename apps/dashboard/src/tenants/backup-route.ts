import { assertTenantId, isOnewriterError } from '@onewriter/protocol';
import type { Parts } from '../parts.ts';
import { errorNotice } from '../views/notice.ts';
import { callOf } from './request.ts';
import { showTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/backup`: starts the operation, and leads to its page. */
export function addBackupRoute(parts: Parts): void {
  const { app, gateway } = parts;

  app.post('/tenants/:tenant/backup', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    try {
      // The gateway writes down who started it.
      return c.redirect(`/operations/${await gateway.startBackup(tenant, callOf(c))}`, 303);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return showTenant(parts, c, { notice: errorNotice(error, 'No backup was started') }, error.status);
    }
  });
}
