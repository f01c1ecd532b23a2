import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  noSuchOperation,
  type Operation,
  type OperationChange,
  type OperationWithLog,
  watchOperation,
} from '@onewriter/operations';
import { askRedis, OnewriterError, toWireError } from '@onewriter/protocol';
import { assertAccess, coversTenant, type VerifiedToken } from '@onewriter/runtime';
import type { Context } from 'hono';
import { readJsonBody } from '../../bodies/json-body.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import { asOnewriterError } from '../../http/error-response.ts';
import type { OperationRequest } from '../../operations/operation-runner.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { endOfToken } from '../../security/end-of-token.ts';
import { Shares } from '../../security/shares.ts';
import { whoAsks } from '../../security/who-asks.ts';
import { releaseAfter, toLineStream } from '../../streams/line-response.ts';
import { type Api, addRoute } from './api.ts';
import { ListQuery, OperationLog, OperationShape, StartRequest } from './operation-schemas.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, z } from './schemas.ts';
import { ownerOfWork, startOperation } from './start-operation.ts';

const EVENT_STREAM = 'text/event-stream';
const RIGHTS_NOTE = 'Needs the right admin:tenants for each tenant that it is about.';
const IdParam = z.object({ id: z.string().openapi({ param: { name: 'id', in: 'path' } }) });

const start = createRoute({
  method: 'post',
  path: '/v1/operations',
  operationId: 'startOperation',
  summary: 'Start a backup, a check or a restore',
  description: `It continues when the request has ended; follow it by its id. ${RIGHTS_NOTE} 429 where too many wait.`,
  security: SECURED,
  request: { body: jsonBody(StartRequest) },
  responses: { 202: json('It waits for its turn, or runs.', OperationLog), ...FAILURE },
});

const list = createRoute({
  method: 'get',
  path: '/v1/operations',
  operationId: 'listOperations',
  summary: 'Long work of all processes, the newest first',
  description: `Backups, restores and checks, and imports and exports that take long, started by any process, without their results. Only those that the token covers. ${RIGHTS_NOTE}`,
  security: SECURED,
  request: { query: ListQuery },
  responses: {
    200: json('Operations.', z.object({ operations: z.array(OperationShape) }).openapi('OperationList')),
    ...FAILURE,
  },
});

const get = createRoute({
  method: 'get',
  path: '/v1/operations/{id}',
  operationId: 'getOperation',
  summary: 'One operation, with its newest lines',
  description:
    'With "Accept: text/event-stream" server-sent events: "operation" as it is now and after each change, with the new lines ' +
    `in "log"; "error" where it cannot be followed. The stream ends with the operation, after half an hour or with its token. ${RIGHTS_NOTE}`,
  security: SECURED,
  request: { params: IdParam },
  responses: {
    200: {
      description: 'The operation.',
      content: { 'application/json': { schema: OperationLog }, [EVENT_STREAM]: { schema: z.string() } },
    },
    ...FAILURE,
  },
});

const cancel = createRoute({
  method: 'post',
  path: '/v1/operations/{id}/cancel',
  operationId: 'cancelOperation',
  summary: 'Ask the process that carries an operation out to stop it',
  description: `A restore that has begun to replace a file is finished. One that has ended stays as it is. ${RIGHTS_NOTE}`,
  security: SECURED,
  request: { params: IdParam },
  responses: { 202: json('As it is now.', OperationLog), ...FAILURE },
});

const MAX_STREAMS = 100;
/** Clients reconnect, so that a gateway which is replaced loses its streams in time. */
const MAX_LIFE_MS = 30 * 60_000;

/** `/v1/operations` */
export function addOperationRoutes(api: Api): void {
  const { options, guards } = api;
  const { store, backups } = options.operations;
  const streams = new Shares({ what: 'streams of operations', total: MAX_STREAMS });

  addRoute(api, start, guards.token, guards.jsonBody, async c => {
    const body = await readJsonBody(c, StartRequest);
    const { request, tenants } = await authorizeStart(body, c, api, backups);
    const detail = body.kind === 'restore' ? `restore ${body.backup}` : body.kind;
    return startOperation(c, options, request, tenants, detail);
  });

  addRoute(api, list, guards.token, async c => {
    const access = c.get('access');
    assertAccess(access, 'admin:tenants');
    const { limit, state } = parseQuery(ListQuery, c.req.query());
    const all = await askRedis(() => store.list());
    const operations = all.filter(
      operation => covers(access, operation) && (state === undefined || operation.state === state),
    );
    return c.json({ operations: operations.slice(0, limit) });
  });

  /** @throws OnewriterError NOT_FOUND, also where the token does not cover it */
  async function find(c: Context<GatewayEnv>): Promise<OperationWithLog> {
    const access = c.get('access');
    assertAccess(access, 'admin:tenants');
    const id = c.req.param('id') ?? '';
    const operation = await askRedis(() => store.find(id));
    if (operation === undefined || !covers(access, operation)) throw noSuchOperation(id);
    return operation;
  }

  addRoute(api, get, guards.token, async c => {
    const operation = await find(c);
    if (!(c.req.header('accept') ?? '').includes(EVENT_STREAM)) return c.json(operation);
    const { release } = streams.take(ownerOfWork(c.get('access'), operation.tenants));
    const gone = new AbortController();
    const tokenEnd = endOfToken(c, options.verifyToken);
    const life = AbortSignal.timeout(MAX_LIFE_MS);
    const signal = AbortSignal.any([gone.signal, tokenEnd, c.req.raw.signal, options.closing, life]);
    const texts = releaseAfter(toTexts(watchOperation(store, operation.id, signal), tokenEnd), () => {
      gone.abort();
      release();
    });
    return c.body(toLineStream(texts), 200, { 'content-type': EVENT_STREAM, 'x-accel-buffering': 'no' });
  });

  addRoute(api, cancel, guards.token, async c => {
    const { id, tenants } = await find(c);
    const tenant = tenants?.length === 1 ? tenants[0]! : '';
    await options.audit.record(
      c,
      'operation.cancel',
      tenant,
      () => askRedis(() => store.cancel(id, whoAsks(c))),
      id,
    );
    return c.json(await askRedis(() => store.get(id)), 202);
  });
}

/** @throws OnewriterError FORBIDDEN, RATE_LIMITED; NOT_FOUND where there is no such backup */
async function authorizeStart(
  body: z.output<typeof StartRequest>,
  c: Context<GatewayEnv>,
  { options }: Api,
  backups: string,
): Promise<{ readonly request: OperationRequest; readonly tenants: readonly string[] | null }> {
  const admit = (tenant: string) => authorizeTenant(c, options.limits, tenant, 'admin:tenants');
  if (body.kind === 'restore') {
    const { kind, tenant, backup, replace, leavePaused } = body;
    await admit(tenant);
    // A backup is a tenant's data, too.
    await admit(backup.slice(0, backup.indexOf('/')));
    const path = join(backups, backup);
    if (!existsSync(path)) throw new OnewriterError('NOT_FOUND', `There is no backup ${backup}.`, { tenant });
    return { request: { kind, tenant, backup: path, replace, leavePaused }, tenants: [tenant] };
  }
  const { kind } = body;
  const tenants = body.tenants === '*' ? null : [...new Set(body.tenants)];
  assertAccess(c.get('access'), 'admin:tenants');
  if (tenants === null && c.get('access').tenants !== '*')
    throw new OnewriterError('FORBIDDEN', 'This needs a token for all tenants ("tenants": "*").');
  for (const tenant of tenants ?? []) await admit(tenant);
  const verification = body.kind === 'backup' ? body.verify : body.quick ? 'quick' : 'full';
  return { request: { kind, tenants, verification }, tenants };
}

/** A record of all tenants is for tokens of all. */
function covers(access: VerifiedToken, { tenants }: Operation): boolean {
  if (tenants === null) return access.tenants === '*';
  return tenants.every(tenant => coversTenant(access, tenant));
}

async function* toTexts(
  changes: AsyncIterable<OperationChange>,
  tokenEnd: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  try {
    for await (const { operation, newLines } of changes) {
      yield `event: operation\ndata: ${JSON.stringify({ ...operation, log: newLines })}\n\n`;
    }
    tokenEnd.throwIfAborted();
  } catch (error) {
    yield `event: error\ndata: ${JSON.stringify(toWireError(asOnewriterError(error)))}\n\n`;
  }
}
