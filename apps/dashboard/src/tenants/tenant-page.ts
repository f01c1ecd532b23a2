import { assertTenantId, isOnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { DashboardEnv } from '../dashboard-env.ts';
import type { GatewayCall } from '../dashboard-gateway.ts';
import type { Parts } from '../parts.ts';
import { layout } from '../views/layout.ts';
import { errorNotice, type Notice } from '../views/notice.ts';
import { schemaSection } from '../views/schema.ts';
import type { SqlOutcome } from '../views/sql-result.ts';
import { tenantPage, tenantRegions } from '../views/tenant.ts';
import { callOf } from './request.ts';

/** What a page says after a person was sent back to it. */
const DONE: Readonly<Record<string, string>> = {
  pause: 'Paused. Its file is closed; writes wait or are refused until you resume it.',
  resume: 'Resumed: what waited in its queue is being applied.',
  durability: 'Chosen: it holds for all writes from now on.',
  hibernate: 'Hibernated: its file is in the replica only. What comes for the tenant brings it back.',
  wake: 'Awake: its file is here.',
  retry: 'Sent again: the write is in the tenant’s queue. If it fails again it comes back as a new letter.',
  drop: 'Dropped: the letter is deleted.',
};

/** `GET /tenants/:tenant`, `…/live` */
export function addTenantPage(parts: Parts): void {
  const { app, streams, tenants } = parts;

  app.get('/tenants/:tenant', async c => {
    const done = DONE[c.req.query('did') ?? ''];
    return showTenant(parts, c, done === undefined ? {} : { notice: { tone: 'good', text: done } });
  });

  app.get('/tenants/:tenant/live', c => {
    const tenant = assertTenantId(c.req.param('tenant'));
    const call = callOf(c);
    return streams.answer(c, async function* (signal) {
      for await (const view of tenants.follow(tenant, call, signal)) yield tenantRegions(view);
    });
  });
}

/** Answers with the page of the tenant in the path. */
export async function showTenant(
  { tenants, gateway, group }: Parts,
  c: Context<DashboardEnv>,
  shown: { notice?: Notice; sql?: string; outcome?: SqlOutcome },
  status = 200,
): Promise<Response> {
  const tenant = assertTenantId(c.req.param('tenant'));
  const call = callOf(c);
  const view = await tenants.view(tenant, call);
  // A look at the page must not bring its file back.
  const why = view.info?.hibernated
    ? 'It is hibernated: what is in its file shows when it is back.'
    : view.gatewayProblem;
  const schema = await readSchema(gateway, tenant, call, why);
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

/** Does something to the tenant in the path and sends the person back, or says on the page why it could not be done. */
export async function actOnTenant(
  parts: Parts,
  c: Context<DashboardEnv>,
  did: string,
  failed: string,
  work: (tenant: string) => Promise<void>,
): Promise<Response> {
  const tenant = assertTenantId(c.req.param('tenant'));
  // A tenant that does not exist cannot be paused.
  await parts.tenants.view(tenant, callOf(c));
  try {
    await work(tenant);
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return showTenant(parts, c, { notice: errorNotice(error, failed) }, error.status);
  }
  await parts.watch.refresh(tenant);
  return c.redirect(`/tenants/${tenant}?did=${did}`, 303);
}

async function readSchema(
  gateway: Parts['gateway'],
  tenant: string,
  call: GatewayCall,
  why: string | undefined,
) {
  if (why !== undefined) return why;
  try {
    return await gateway.schema(tenant, call);
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return error.code === 'TENANT_NOT_FOUND'
      ? 'It has no file yet: its first write makes one.'
      : error.message;
  }
}
