import {
  assertTenantId,
  classifyStatement,
  describeStatement,
  isOnewriterError,
  LIMITS,
  OnewriterError,
  shownName,
  TENANT_ID_PATTERN,
} from '@onewriter/protocol';
import { noSuchLetter } from '@onewriter/runtime/dead-letters';
import { pauseTenant, readQueueFacts, readReason, resumeTenant } from '@onewriter/tenants';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { DashboardEnv } from '../dashboard-env.ts';
import type { FileCheck, GatewayCall } from '../gateway-client.ts';
import type { Parts } from '../parts.ts';
import { formatMs } from '../views/format.ts';
import { layout } from '../views/layout.ts';
import { errorNotice, type Notice } from '../views/notice.ts';
import { schemaSection } from '../views/schema.ts';
import { MAX_SHOWN_ROWS, type SqlOutcome, sqlResult } from '../views/sql-result.ts';
import { tenantPage, tenantRegions } from '../views/tenant.ts';
import { TENANT_PAGE, tenantListPage } from '../views/tenant-list.ts';
import { createLetterActions } from './letter-actions.ts';
import { TenantSearch } from './tenant-search.ts';

/** What a page says after a person was sent back to it. */
const DONE: Readonly<Record<string, string>> = {
  pause: 'Paused. Its file is closed; writes wait or are refused until you resume it.',
  resume: 'Resumed: what waited in its queue is being applied.',
  retry: 'Sent again: the write is in the tenant’s queue. If it fails again it comes back as a new letter.',
  drop: 'Dropped: the letter is deleted.',
};
const MAX_SEARCH_LENGTH = 63;

/**
 *   GET  /tenants?q=&page=
 *   GET  /tenants/:tenant          GET …/live
 *   POST /tenants/:tenant/sql      a statement that reads: a page, or with the header X-Fragment its rows alone
 *   POST /tenants/:tenant/pause, …/resume, …/check, …/backup
 *   POST /tenants/:tenant/letters/:id/retry, …/drop
 */
export function addTenantRoutes(parts: Parts): void {
  const { app, redis, group, watch, streams, gateway, letters, tenants, audit } = parts;
  const search = new TenantSearch(redis, group);
  const letterActions = createLetterActions(letters, audit);

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

  app.get('/tenants/:tenant', async c => {
    const done = DONE[c.req.query('did') ?? ''];
    return showTenant(c, done === undefined ? {} : { notice: { tone: 'good', text: done } });
  });

  app.get('/tenants/:tenant/live', c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const call = callOf(c);
    return streams.answer(c, async function* (signal) {
      for await (const view of tenants.follow(tenant, call, signal)) yield tenantRegions(view);
    });
  });

  app.post('/tenants/:tenant/sql', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const sql = await readField(c, 'sql');
    const outcome = await runSql(tenant, sql, { ...callOf(c), signal: c.req.raw.signal });
    return c.req.header('x-fragment') === undefined
      ? showTenant(c, { sql, outcome })
      : c.html(sqlResult(outcome));
  });

  app.post('/tenants/:tenant/pause', async c => {
    const text = await readField(c, 'reason');
    return act(c, 'pause', 'It could not be paused', async tenant => {
      const reason = readReason(text);
      await audit.record('tenant.pause', tenant, reason, () =>
        pauseTenant(redis, group, tenant, c.get('operator').subject ?? '', reason),
      );
    });
  });

  app.post('/tenants/:tenant/resume', c =>
    act(c, 'resume', 'It could not be resumed', tenant =>
      audit.record('tenant.resume', tenant, '', () => resumeTenant(redis, group, tenant)),
    ),
  );

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
    return showTenant(c, { notice }, status);
  });

  app.post('/tenants/:tenant/backup', async c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    try {
      // The gateway writes down who started it.
      return c.redirect(`/operations/${await gateway.startBackup(tenant, callOf(c))}`, 303);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return showTenant(c, { notice: errorNotice(error, 'No backup was started') }, error.status);
    }
  });

  for (const action of ['retry', 'drop'] as const) {
    app.post(`/tenants/:tenant/letters/:id/${action}`, c =>
      act(c, action, action === 'retry' ? 'It was not sent again' : 'It was not dropped', async () => {
        const id = c.req.param('id') ?? '';
        for await (const letter of letters.read([id])) return letterActions[action](letter);
        throw noSuchLetter(id);
      }),
    );
  }

  /** Does something and sends the person back, or says on the page why it could not be done. */
  async function act(
    c: Context<DashboardEnv>,
    did: string,
    failed: string,
    work: (tenant: string) => Promise<void>,
  ): Promise<Response> {
    const tenant = assertTenantId(c.req.param('tenant'));
    // A tenant that does not exist cannot be paused.
    await tenants.view(tenant, callOf(c));
    try {
      await work(tenant);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return showTenant(c, { notice: errorNotice(error, failed) }, error.status);
    }
    await watch.refresh(tenant);
    return c.redirect(`/tenants/${tenant}?did=${did}`, 303);
  }

  async function runSql(tenant: string, sql: string, call: GatewayCall): Promise<SqlOutcome> {
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

  async function showTenant(
    c: Context<DashboardEnv>,
    shown: { notice?: Notice; sql?: string; outcome?: SqlOutcome },
    status = 200,
  ): Promise<Response> {
    const tenant = assertTenantId(c.req.param('tenant'));
    const call = callOf(c);
    const view = await tenants.view(tenant, call);
    const schema = await readSchema(tenant, call, view.gatewayProblem);
    const content = tenantPage(view, {
      schema: schemaSection(schema),
      sql: shown.sql ?? '',
      outcome: shown.outcome,
      notice: shown.notice,
    });
    const live = `/tenants/${tenant}/live`;
    return c.html(
      layout({ title: tenant, place: 'tenants', live, group }, content),
      status as ContentfulStatusCode,
    );
  }

  async function readSchema(tenant: string, call: GatewayCall, problem: string | undefined) {
    if (problem !== undefined) return problem;
    try {
      return await gateway.schema(tenant, call);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return error.code === 'TENANT_NOT_FOUND'
        ? 'It has no file yet: its first write makes one.'
        : error.message;
    }
  }
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

function callOf(c: Context<DashboardEnv>): GatewayCall {
  return { token: c.get('operator').token };
}

async function readField(c: Context<DashboardEnv>, name: string): Promise<string> {
  const value = (await c.req.parseBody())[name];
  return typeof value === 'string' ? value : '';
}
