import { OnewriterError } from '@onewriter/protocol';
import { readAudit } from '@onewriter/runtime';
import type { Parts } from './parts.ts';
import { AUDIT_PAGE, auditPage } from './views/audit.ts';
import { layout } from './views/layout.ts';

const ENTRY_ID = /^\d{1,20}-\d{1,20}$/;

/** `GET /audit?before=` */
export function addAuditRoutes({ app, redis, group }: Parts): void {
  app.get('/audit', async c => {
    const before = c.req.query('before');
    if (before !== undefined && !ENTRY_ID.test(before)) {
      throw new OnewriterError('INVALID_ARGUMENT', '"before" is the id of an entry.');
    }
    const entries = await readAudit(redis, group, AUDIT_PAGE, before);
    return c.html(layout({ title: 'Audit', place: 'audit', group }, auditPage(entries, before)));
  });
}
