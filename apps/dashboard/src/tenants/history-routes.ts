import { assertTenantId, describeStatement, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { DashboardEnv } from '../dashboard-env.ts';
import type { Parts } from '../parts.ts';
import { type HistoryView, historyPage } from '../views/history.ts';
import { layout } from '../views/layout.ts';
import { errorNotice } from '../views/notice.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from '../views/sql-result.ts';
import { assertReads } from './assert-reads.ts';
import { callOf, readFields } from './request.ts';

/** Points on the page. */
const MAX_POINTS = 300;

/**
 *   GET  /tenants/:tenant/history
 *   POST …/history/sql        a statement that reads, as of a point; with the header X-Fragment its rows alone
 *   POST …/history/restore    as a new tenant, or in its place: starts the operation, and leads to its page
 */
export function addHistoryRoutes(parts: Parts): void {
  const { app, audit, gateway } = parts;

  app.get('/tenants/:tenant/history', c => showHistory(parts, c, { at: c.req.query('at') ?? '' }));

  app.post('/tenants/:tenant/history/sql', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const { at, sql } = await readFields(c, 'at', 'sql');
    const began = performance.now();
    let outcome: SqlOutcome;
    try {
      assertReads(sql);
      const call = { ...callOf(c), signal: c.req.raw.signal };
      const rows = await audit.record('tenant.sql', tenant, `at ${at}: ${describeStatement(sql)}`, () =>
        gateway.readAt(tenant, at, sql, MAX_SHOWN_ROWS, call),
      );
      outcome = { rows, tookMs: performance.now() - began };
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      outcome = { notice: errorNotice(error, 'Not run to its end') };
    }
    return c.req.header('x-fragment') === undefined
      ? showHistory(parts, c, { at, sql, outcome })
      : c.html(sqlResult(outcome));
  });

  app.post('/tenants/:tenant/history/restore', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const { at, as, confirm } = await readFields(c, 'at', 'as', 'confirm');
    try {
      if (as === '' && confirm !== tenant) {
        throw new OnewriterError(
          'CONFIRMATION_REQUIRED',
          'Type the name of the tenant whose file is to be replaced.',
        );
      }
      const target = as === '' ? undefined : assertTenantId(as);
      // The gateway writes down who started it.
      return c.redirect(`/operations/${await gateway.startRestore(tenant, at, target, callOf(c))}`, 303);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return showHistory(parts, c, { at, notice: errorNotice(error, 'Nothing was restored') }, error.status);
    }
  });
}

async function showHistory(
  { gateway, group }: Parts,
  c: Context<DashboardEnv>,
  shown: Partial<HistoryView>,
  status = 200,
): Promise<Response> {
  const tenant = assertTenantId(c.req.param('tenant'));
  let points: HistoryView['points'];
  try {
    points = await gateway.history(tenant, MAX_POINTS, { ...callOf(c), signal: c.req.raw.signal });
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    points = errorNotice(error, 'Its history cannot be shown');
  }
  const content = historyPage({ at: '', sql: '', ...shown, tenant, now: Date.now(), points });
  const page = layout({ title: `History of ${tenant}`, place: 'tenants', group }, content);
  return c.html(page, status as ContentfulStatusCode);
}
