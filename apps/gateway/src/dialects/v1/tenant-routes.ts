import { askRedis, OnewriterError } from '@onewriter/protocol';
import { assertAccess, coversTenant } from '@onewriter/runtime';
import { type CatalogueEntry, MAX_REASON_LENGTH, readReason, TENANT_STATES } from '@onewriter/tenants';
import type { Context } from 'hono';
import { readJsonBody, readOther } from '../../bodies/json-body.ts';
import { CreateTenant } from '../../bodies/other-bodies.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { ReadAnswer } from '../../reads/tenant-reads.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { ownerOf } from '../../security/shares.ts';
import { whoAsks } from '../../security/who-asks.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam, z } from './schemas.ts';

const TenantState = z.enum(TENANT_STATES).openapi('TenantState', {
  description:
    'new: it has queued writes and no file yet. active: writes are applied. releasing: it has holders, the broker is closing its file. ' +
    'paused: until a person resumes it. restoring, deleting: an operation works on its file. parked: its file takes no writes, the broker ' +
    'tries again. In all but new, active and parked, writes through the gateway are refused and others wait.',
});

const Holder = z
  .object({
    name: z.string().openapi({ description: 'pause, restore, delete or create.' }),
    reason: z.string(),
    who: z.string(),
    since: z.string().nullable(),
    expiresAt: z.string().nullable().openapi({
      description: 'When it ends, unless its process renews it; null for a pause, which ends with resume.',
    }),
  })
  .openapi('TenantHolder');

const Summary = z
  .object({
    tenant: z.string(),
    state: TenantState,
    bytes: z.int().nullable(),
    walBytes: z.int().nullable(),
    queuedJobs: z.int(),
    lastActivity: z.string().nullable(),
    parked: z.object({ code: z.string(), message: z.string(), since: z.string() }).nullable(),
    holders: z.array(Holder).openapi({
      description:
        'Who keeps it still, why and since when. It is active again when the last hold is released.',
    }),
  })
  .openapi('TenantSummary');

const Tenant = Summary.extend({
  commitSeq: z.int().nullable(),
  lastWrite: z.string().nullable().openapi({ description: 'Time of the newest commit.' }),
}).openapi('Tenant');

const ListQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  after: z.string().max(63).default('').openapi({ description: 'The "next" of the page before.' }),
});

const DeleteQuery = z.object({
  discardQueued: z
    .enum(['true', 'false'])
    .default('false')
    .openapi({ description: 'Whether writes that wait in the queue may be lost.' }),
});

const PauseRequest = z
  .object({ reason: z.string().default('').openapi({ maxLength: MAX_REASON_LENGTH }) })
  .openapi('PauseTenant', { description: 'Why, for the people who see it paused.' });

/** For the writer to open what was created. */
const OPEN_WAIT_MS = 5_000;

const common = { security: SECURED };
const path = '/v1/tenants/{tenant}' as const;
const list = createRoute({
  ...common,
  method: 'get',
  path: '/v1/tenants',
  operationId: 'listTenants',
  summary: 'List tenants, by name',
  description: 'Those that the token covers.',
  request: { query: ListQuery },
  responses: {
    200: json(
      'One page.',
      z.object({ tenants: z.array(Summary), next: z.string().nullable() }).openapi('TenantPage'),
    ),
    ...FAILURE,
  },
});
const get = createRoute({
  ...common,
  method: 'get',
  path,
  operationId: 'getTenant',
  summary: 'State of a tenant',
  request: { params: TenantParam },
  responses: { 200: json('What is known of it.', Tenant), ...FAILURE },
});
const put = createRoute({
  ...common,
  method: 'put',
  path,
  operationId: 'createTenant',
  summary: 'Create a tenant',
  description:
    'Needs access admin. Does nothing where there is one already; its script is not run then. Where the script fails there is ' +
    'no tenant, and the same request can be sent again.',
  request: { params: TenantParam, body: { ...jsonBody(CreateTenant), required: false } },
  responses: {
    200: json('There was one already.', Tenant),
    201: json('Created.', Tenant),
    ...FAILURE,
  },
});
const pause = createRoute({
  ...common,
  method: 'post',
  path: `${path}/pause`,
  operationId: 'pauseTenant',
  summary: 'Stop applying writes',
  description:
    "Needs access admin. Answers when nothing is being applied any more and the broker has closed the tenant's file. New writes through the gateway get 503 " +
    'TENANT_PAUSED; those of SDK clients wait in the queue. Reads continue.',
  request: { params: TenantParam, body: { ...jsonBody(PauseRequest), required: false } },
  responses: { 200: json('It is paused.', Tenant), ...FAILURE },
});
const resume = createRoute({
  ...common,
  method: 'post',
  path: `${path}/resume`,
  operationId: 'resumeTenant',
  summary: 'Apply writes again',
  description:
    'Needs access admin. Ends a pause; a file operation that holds the tenant then continues, and "holders" names it.',
  request: { params: TenantParam },
  responses: { 200: json('It is not paused any more.', Tenant), ...FAILURE },
});
const remove = createRoute({
  ...common,
  method: 'delete',
  path,
  operationId: 'deleteTenant',
  summary: 'Delete a tenant',
  description:
    'Needs access admin, and the header Confirm-Delete with the tenant id. The folder goes to the trash, where it stays ' +
    'until it expires. 409 TENANT_BUSY where writes wait in the queue.',
  request: {
    params: TenantParam,
    query: DeleteQuery,
    headers: z.object({ 'confirm-delete': z.string().optional().openapi({ description: 'The tenant id.' }) }),
  },
  responses: {
    200: json(
      'It is in the trash.',
      z
        .object({
          tenant: z.string(),
          trash: z.string().nullable().openapi({ description: 'null: its folder was gone already.' }),
          deletedAt: z.string(),
          expiresAt: z.string().nullable(),
        })
        .openapi('DeletedTenant'),
    ),
    ...FAILURE,
  },
});

function hasBody(c: Context<GatewayEnv>): boolean {
  return c.req.header('content-length') !== '0' && c.req.raw.body !== null;
}

function toSummary(entry: CatalogueEntry): z.output<typeof Summary> {
  const { tenant, state, size, waitingJobs, activeJobs, lastActivity, parked, holders } = entry;
  return {
    ...{ tenant, state, bytes: size?.bytes ?? null, walBytes: size?.walBytes ?? null },
    queuedJobs: waitingJobs + activeJobs,
    lastActivity: lastActivity === null ? null : new Date(lastActivity).toISOString(),
    ...{ parked, holders: [...holders] },
  };
}

/** `/v1/tenants` and what can be done with a tenant as a whole. */
export function addTenantRoutes(api: Api): void {
  const { options, guards } = api;
  const { tenants, audit } = options;

  /**
   * The answer about a tenant. Where Redis is away, it throws Redis' own error: before anything is done askRedis makes
   * QUEUE_UNAVAILABLE of it, afterwards that would say that nothing was.
   * @throws OnewriterError TENANT_NOT_FOUND
   */
  async function describe(tenant: string): Promise<z.output<typeof Tenant>> {
    const entry = await tenants.catalogue.find(tenant);
    if (entry === undefined) {
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no tenant ${tenant}.`, { tenant });
    }
    const known = { ...toSummary(entry), commitSeq: null, lastWrite: null };
    if (entry.size === undefined) return known;
    let answer: ReadAnswer;
    try {
      const sql = 'SELECT committed_at FROM _onewriter_ledger ORDER BY id DESC LIMIT 1';
      answer = await options.reads.read({ tenant, statements: [{ sql }], timeoutMs: options.readTimeoutMs });
    } catch (error) {
      // Never written by a broker, or damaged: the rest is still true.
      if (error instanceof OnewriterError) return known;
      throw error;
    }
    const committedAt = answer.results[0]?.rows[0]?.[0];
    return {
      ...known,
      commitSeq: answer.commitSeq ?? null,
      lastWrite: typeof committedAt === 'number' ? new Date(committedAt).toISOString() : null,
    };
  }

  /** Has the writer open a tenant that was created, which is there whether that works now or later. */
  async function openNew(tenant: string): Promise<void> {
    try {
      const timeoutMs = Math.min(options.writeTimeoutMs, OPEN_WAIT_MS);
      await options.onewriter.tenant(tenant).transaction([{ sql: 'SELECT 1' }], { timeoutMs });
    } catch (error) {
      if (!(error instanceof OnewriterError)) throw error;
      options.log.warn({ tenant, code: error.code }, `A new tenant was not opened yet: ${error.message}`);
    }
  }

  /** Tenants after the name `after`, by name, of those that `covers` lets through. */
  async function page(after: string, limit: number, covers: (tenant: string) => boolean) {
    const names = (await tenants.catalogue.names()).filter(name => name > after && covers(name));
    const shown = names.slice(0, limit);
    const entries = await tenants.catalogue.look(shown);
    return { tenants: entries.map(toSummary), next: names.length > limit ? shown.at(-1)! : null };
  }

  addRoute(api, list, guards.token, async c => {
    const access = c.get('access');
    assertAccess(access, 'read');
    const { limit, after } = parseQuery(ListQuery, c.req.query());
    const covers = (tenant: string) => coversTenant(access, tenant);
    return c.json(await askRedis(() => page(after, limit, covers)));
  });

  addRoute(api, get, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    return c.json(await askRedis(() => describe(tenant)));
  });

  addRoute(api, put, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const body = hasBody(c) ? await readOther(c, 'createTenant', options) : {};
    const created = await audit.record(c, 'tenant.create', tenant, () =>
      body.script === undefined
        ? tenants.create(tenant, whoAsks(c))
        : tenants.build(tenant, body.script, whoAsks(c), ownerOf(c.get('access'), tenant), c.req.raw.signal),
    );
    if (created) {
      tenants.catalogue.refresh();
      await openNew(tenant);
    }
    if (!created) return c.json(await askRedis(() => describe(tenant)));
    return c.json(await describe(tenant), 201);
  });

  addRoute(api, pause, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { reason = '' } = hasBody(c) ? await readJsonBody(c, PauseRequest) : {};
    await askRedis(() => describe(tenant));
    const why = readReason(reason);
    await audit.record(c, 'tenant.pause', tenant, () => options.pauses.pause(tenant, whoAsks(c), why), why);
    return c.json(await describe(tenant));
  });

  addRoute(api, resume, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    await askRedis(() => describe(tenant));
    await audit.record(c, 'tenant.resume', tenant, () => options.pauses.resume(tenant));
    return c.json(await describe(tenant));
  });

  addRoute(api, remove, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { discardQueued } = parseQuery(DeleteQuery, c.req.query());
    if (c.req.header('confirm-delete') !== tenant) {
      throw new OnewriterError(
        'CONFIRMATION_REQUIRED',
        `This deletes tenant ${tenant}. To confirm, send the header "Confirm-Delete: ${tenant}".`,
        { tenant },
      );
    }
    const entry = await audit.record(c, 'tenant.delete', tenant, () =>
      tenants.remove(tenant, discardQueued === 'true', whoAsks(c)),
    );
    return c.json({
      tenant,
      trash: entry?.name ?? null,
      deletedAt: new Date(entry?.deletedAtMs ?? Date.now()).toISOString(),
      expiresAt: entry === undefined ? null : new Date(entry.expiresAtMs).toISOString(),
    });
  });
}
