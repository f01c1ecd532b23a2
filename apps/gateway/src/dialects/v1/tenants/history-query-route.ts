import { classifyStatement, OnewriterError } from '@onewriter/protocol';
import { parsePoint } from '@onewriter/replicator';
import { readJsonBody } from '../../../bodies/json-body.ts';
import { requireReplica } from '../../../replica/gateway-replica.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { ownerOf } from '../../../security/shares.ts';
import { NDJSON } from '../../../streams/line-response.ts';
import { type Api, addRoute } from '../api.ts';
import { answerRead } from '../query-route.ts';
import {
  createRoute,
  FAILURE,
  jsonBody,
  QueryResponse,
  SECURED,
  TenantParam,
  Values,
  z,
} from '../schemas.ts';
import { TENANT_PATH } from './request.ts';
import { at } from './restore-routes.ts';

const HistoryQueryRequest = z
  .strictObject({
    at,
    sql: z
      .string()
      .min(1)
      .openapi({ description: 'One statement that reads.', example: 'SELECT * FROM tasks' }),
    values: Values,
  })
  .openapi('HistoryQuery');

const route = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/history/query`,
  operationId: 'queryHistory',
  summary: 'Read a tenant as it was at a point',
  description:
    'Needs the right admin:tenants. The point is restored to a temporary file first, which further statements of the same commit share; it ' +
    'is removed when it was not read for five minutes. 413 RESULT_TOO_LARGE for a tenant over 512 MiB: restore it under another name. ' +
    'With Accept: application/x-ndjson the rows stream, as those of query.',
  request: { params: TenantParam, body: jsonBody(HistoryQueryRequest) },
  responses: {
    200: {
      description:
        'The rows. The header Commit-Seq has the commit that they are of, and Committed-At when it was made.',
      content: { 'application/json': { schema: QueryResponse }, [NDJSON]: { schema: z.string() } },
    },
    ...FAILURE,
  },
});

/** `POST /v1/tenants/{tenant}/history/query` */
export function addHistoryQueryRoute(api: Api): void {
  const { options, guards } = api;

  addRoute(api, route, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { at: text, sql, values } = await readJsonBody(c, HistoryQueryRequest);
    const point = parsePoint(String(text));
    if (classifyStatement(sql).kind !== 'read')
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'Only statements that read run on a former point.');
    const { files } = requireReplica(options.replica);
    const owner = ownerOf(c.get('access'), tenant);
    const file = await files.use({ tenant, point, owner, signal: c.req.raw.signal });
    const method = values === 'tagged' ? 'values' : 'all';
    const answer = await answerRead(
      c,
      file.reads,
      { method, values },
      {
        tenant: file.name,
        statements: [{ sql }],
        timeoutMs: options.readTimeoutMs,
      },
    );
    answer.headers.set('Commit-Seq', String(file.commitSeq));
    answer.headers.set('Committed-At', new Date(file.atMs).toISOString());
    return answer;
  });
}
