import { ONEWRITER_VERSION } from '@onewriter/runtime';
import type { Context, Handler, Hono, MiddlewareHandler } from 'hono';
import { readOther } from '../../bodies/json-body.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { exportTenant } from '../v1/export-route.ts';
import { type StreamResult, toStreamResults } from './answers.ts';
import type { HranaError } from './hrana-error.ts';
import { authorizeStream, runRequests } from './hrana-routes.ts';
import { toStatementsJson } from './sqld-answers.ts';
import type { SqldBodies } from './sqld-bodies.ts';
import { toHranaJson } from './values.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

/**
 * What clients and people of sqld ask besides Hrana 2 and 3, below a tenant's address: at the root these paths are others'.
 *
 *   POST /t/:tenant/v1/execute   {stmt} → {result}
 *   POST /t/:tenant/v1/batch     {batch} → {result}
 *   POST /t/:tenant/             {statements} → one result each
 *   GET  /t/:tenant/v1, version, health   without a token
 *   GET  /t/:tenant/dump         the database as SQL
 */
export function addSqldRoutes(
  app: Hono<GatewayEnv>,
  options: GatewayOptions,
  {
    token,
    jsonBody,
  }: { readonly token: MiddlewareHandler<GatewayEnv>; readonly jsonBody: MiddlewareHandler<GatewayEnv> },
): void {
  const base = '/t/:tenant';
  app.post(`${base}/v1/execute`, token, jsonBody, c => answerOne(c, options, 'sqldExecute'));
  app.post(`${base}/v1/batch`, token, jsonBody, c => answerOne(c, options, 'sqldBatch'));
  const statements: Handler<GatewayEnv> = c => answerStatements(c, options);
  for (const path of [base, `${base}/`]) app.post(path, token, jsonBody, statements);
  app.get(`${base}/dump`, token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'export');
    return exportTenant(c, options, tenant, { format: 'sql', values: 'tagged' });
  });
  app.get(`${base}/v1`, c => c.text('Hello from Onewriter.'));
  app.get(`${base}/version`, c => c.text(`onewriter ${ONEWRITER_VERSION}`));
  app.get(`${base}/health`, async c => {
    const { healthy } = await options.health();
    return c.body(null, healthy ? 200 : 503);
  });
}

async function run(c: Context<GatewayEnv>, options: GatewayOptions, name: keyof SqldBodies) {
  const { tenant, access } = await authorizeStream(c, options);
  const request = await readOther(c, name, options);
  // A stream of its own, which ends with the request: what is left open is rolled back.
  const requests = [request, { type: 'close' } as const];
  return runRequests(c, options, { tenant, access, baton: undefined, requests });
}

async function answerOne(
  c: Context<GatewayEnv>,
  options: GatewayOptions,
  name: 'sqldExecute' | 'sqldBatch',
): Promise<Response> {
  const { answers, results } = await run(c, options, name);
  const [answer] = toStreamResults(answers, results) as [StreamResult];
  if (answer.type === 'error') return refuse(c, answer.error);
  return c.body(toHranaJson({ result: answer.response['result'] }), 200, JSON_TYPE);
}

async function answerStatements(c: Context<GatewayEnv>, options: GatewayOptions): Promise<Response> {
  const { answers, results } = await run(c, options, 'sqldStatements');
  const [answer] = answers;
  // A text that is no statement, or several: nothing has run.
  if (answer?.type === 'failed') return refuse(c, answer.error);
  return c.body(toStatementsJson(results), 200, JSON_TYPE);
}

/** A statement's error is the answer. `error` is what clients of `POST /` read. */
function refuse(c: Context<GatewayEnv>, { message, code, extended_code }: HranaError): Response {
  return c.json({ message, code, extended_code, error: message }, 400);
}
