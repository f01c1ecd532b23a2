import {
  assertTenantId,
  classifyStatement,
  describeStatement,
  isOnewriterError,
  LIMITS,
  OnewriterError,
} from '@onewriter/protocol';
import type { GatewayCall } from '../dashboard-gateway.ts';
import type { Parts } from '../parts.ts';
import { errorNotice } from '../views/notice.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from '../views/sql-result.ts';
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
    // The gateway would have it written: what does not read never gets there.
    if (Buffer.byteLength(sql) > LIMITS.maxStatementBytes || sql.trim() === '') {
      throw new OnewriterError('INVALID_ARGUMENT', 'Type one statement.');
    }
    if (classifyStatement(sql).kind !== 'read') {
      const message = 'This box only reads. Writes go through the application, or: npx onewriter sql';
      throw new OnewriterError('FORBIDDEN', message);
    }
    const rows = await audit.record('tenant.sql', tenant, describeStatement(sql), () =>
      gateway.read(tenant, sql, MAX_SHOWN_ROWS, call),
    );
    return { rows, tookMs: performance.now() - began };
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return { notice: errorNotice(error, 'Not run to its end') };
  }
}
