import { assertTenantId, isOnewriterError, shownName } from '@onewriter/protocol';
import type { FileCheck } from '../dashboard-gateway.ts';
import type { Parts } from '../parts.ts';
import { formatMs } from '../views/format.ts';
import { errorNotice, type Notice } from '../views/notice.ts';
import { callOf } from './request.ts';
import { showTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/check` */
export function addCheckRoute(parts: Parts): void {
  const { app, audit, gateway } = parts;

  app.post('/tenants/:tenant/check', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const began = performance.now();
    let notice: Notice;
    let status = 200;
    try {
      const result = await audit.record('tenant.check', tenant, '', () => gateway.check(tenant, callOf(c)));
      notice = checkNotice(result, formatMs(performance.now() - began));
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      notice = errorNotice(error, 'The file could not be checked');
      status = error.status;
    }
    return showTenant(parts, c, { notice }, status);
  });
}

function checkNotice({ integrity, unchecked }: FileCheck, duration: string): Notice {
  if (integrity !== 'ok') {
    return {
      tone: 'critical',
      text: 'The file is damaged. Pause the tenant, keep a copy of the file, and restore it from a backup.',
      detail: integrity,
    };
  }
  if (unchecked.length === 0) {
    return { tone: 'good', text: `The file is in order: SQLite’s full check found nothing in ${duration}.` };
  }
  return {
    tone: 'warning',
    text: `What could be checked is in order (${duration}). SQLite here lacks what these tables use: they were only read.`,
    detail: unchecked.map(({ name, error }) => `${shownName(name)}: ${error}`).join('\n'),
  };
}
