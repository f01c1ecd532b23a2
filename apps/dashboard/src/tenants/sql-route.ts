import { assertTenantId, describeStatement, isOnewriterError } from '@onewriter/protocol';
import type { GatewayCall } from '../dashboard-gateway.ts';
import type { Parts } from '../parts.ts';
import { errorNotice } from '../views/notice.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from '../views/sql-result.ts';
import { assertReads } from './assert-reads.ts';
import { callOf, readField } from './request.ts';
import { showTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/sql`: a statement that reads. Answers a page, or with the header X-Fragment its rows alone. */
export function addSqlRoute(parts: Parts): void {
  const { app } = parts;

  app.post('/tenants/:tenant/sql', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const sql = await readField(c, 'sql');
    const outcome = await runSql(parts, tenant, sql, { ...callOf(c), signal: c.req.raw.signal });
    return c.req.header('x-fragment') === undefined
      ? showTenant(parts, c, { sql, outcome })
      : c.html(sqlResult(outcome));
  });
}

async function runSql(
  { audit, gateway }: Parts,
  tenant: string,
  sql: string,
  call: GatewayCall,
): Promise<SqlOutcome> {
  const began = performance.now();
  try {
    assertReads(sql);
    const rows = await audit.record('tenant.sql', tenant, describeStatement(sql), () =>
      gateway.read(tenant, sql, MAX_SHOWN_ROWS, call),
    );
    return { rows, tookMs: performance.now() - began };
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return { notice: errorNotice(error, 'Not run to its end') };
  }
}
