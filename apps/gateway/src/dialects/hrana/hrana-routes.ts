import { OnewriterError } from '@onewriter/protocol';
import { assertAccess, type VerifiedToken } from '@onewriter/runtime';
import type { Context, Handler, Hono, MiddlewareHandler } from 'hono';
import { readOther } from '../../bodies/json-body.ts';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import { asOnewriterError } from '../../http/error-response.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { senderOf } from '../../security/sender.ts';
import { boundTokenOf } from '../../security/shares.ts';
import { NDJSON, toLineStream } from '../../streams/line-response.ts';
import { toCursorLines, toErrorLine, toStreamedLines, toStreamResults } from './answers.ts';
import {
  type AnswerPlan,
  asRequestError,
  compileBatch,
  compileRequests,
  type PlannedStep,
} from './compile-requests.ts';
import type { Hrana } from './hrana.ts';
import { toHranaError, toStepError } from './hrana-error.ts';
import type { PreparedRequest } from './prepare-body.ts';
import type { SqlStore } from './sql-store.ts';
import type { StepResult } from './steps.ts';
import { type HranaStream, isHolding } from './streams.ts';
import { readTenant } from './tenant-address.ts';
import { toHranaJson } from './values.ts';

/** One HTTP request at a stream. */
interface StreamRequest {
  readonly stream: HranaStream;
  readonly steps: readonly PlannedStep[];
  readonly closes: boolean;
}

/** Requests at a stream, of a tenant. */
interface PipelineRequest {
  readonly tenant: string;
  readonly access: VerifiedToken;
  readonly baton: string | null | undefined;
  readonly requests: readonly PreparedRequest[];
}

/** Where the protocol is: below the tenant's path, and at the root where a header or the host names the tenant. */
const BASES = ['/t/:tenant', ''];

/**
 *   POST …/v2/pipeline, …/v3/pipeline   requests on a stream, answered together
 *   POST …/v3/cursor                    a batch, answered as it runs
 *   GET  …/v2, …/v3                     whether the version is spoken; 404 for …/v3-protobuf
 */
export function addHranaRoutes(
  app: Hono<GatewayEnv>,
  options: GatewayOptions,
  guards: { readonly token: MiddlewareHandler<GatewayEnv>; readonly jsonBody: MiddlewareHandler<GatewayEnv> },
): void {
  const { token, jsonBody } = guards;
  const pipeline: Handler<GatewayEnv> = c => answerPipeline(c, options);
  // A client drops the last part of a base URL without a slash at its end.
  for (const path of ['/t/v2/pipeline', '/t/v3/pipeline', '/t/v3/cursor']) {
    app.post(path, () => {
      throw new OnewriterError(
        'NOT_FOUND',
        'The tenant is missing in the path: the URL must end with a slash, …/t/<tenant>/.',
      );
    });
  }
  for (const base of BASES) {
    app.post(`${base}/v2/pipeline`, token, jsonBody, pipeline);
    app.post(`${base}/v3/pipeline`, token, jsonBody, pipeline);
    app.post(`${base}/v3/cursor`, token, jsonBody, c => answerCursor(c, options));
    // Clients ask without a token, before they know who they talk to.
    for (const version of ['v2', 'v3']) app.get(`${base}/${version}`, c => c.text('Hello from Onewriter.'));
  }
}

async function answerPipeline(c: Context<GatewayEnv>, options: GatewayOptions): Promise<Response> {
  const who = await authorizeStream(c, options);
  const { baton, requests } = await readOther(c, 'pipeline', options);
  const { next, answers, results } = await runRequests(c, options, { ...who, baton, requests });
  const answer = { baton: next, base_url: null, results: toStreamResults(answers, results) };
  return c.body(toHranaJson(answer), 200, { 'content-type': 'application/json' });
}

/** Runs requests on their stream. @returns also the baton for the next; null where the stream has ended */
export async function runRequests(
  c: Context<GatewayEnv>,
  options: GatewayOptions,
  { tenant, access, baton, requests }: PipelineRequest,
): Promise<{
  readonly next: string | null;
  readonly answers: readonly AnswerPlan[];
  readonly results: readonly StepResult[];
}> {
  const { hrana } = options;
  const stream = hrana.streams.find(baton, tenant, access);
  // A copy: a refused request must leave no stored text behind.
  const sqls = stream.sqls.copy();
  const { steps, answers, closes } = compileRequests(requests, sqls);
  const request = { stream, steps, closes };
  begin(c, options, request, sqls);
  return { answers, ...(await runAll(c, hrana, request)) };
}

async function answerCursor(c: Context<GatewayEnv>, options: GatewayOptions): Promise<Response> {
  const { hrana } = options;
  const { tenant, access } = await authorizeStream(c, options);
  const { baton, batch } = await readOther(c, 'cursor', options);
  const stream = hrana.streams.find(baton, tenant, access);
  let steps: PlannedStep[];
  try {
    steps = compileBatch(batch, stream.sqls);
  } catch (error) {
    const line = toErrorLine(asRequestError(error));
    begin(c, options, { stream, steps: [], closes: false }, stream.sqls);
    return cursorResponse(c, hrana.streams.finish(stream), [line]);
  }
  const request = { stream, steps, closes: false };
  begin(c, options, request, stream.sqls);
  const now = hrana.runner.readNow(stream, steps);
  if (now !== undefined) return cursorResponse(c, hrana.streams.finish(stream), toCursorLines([now]));
  if (stream.state.type === 'autocommit' && !stream.foreignKeysOff && onlyReads(steps)) {
    // The stream holds nothing meanwhile, and its next request need not wait for the end of this one.
    const next = hrana.streams.finish(stream);
    const pieces = hrana.reads.stream({
      tenant,
      steps: hrana.runner.toReadSteps(steps),
      emptyIfMissing: hrana.createTenants,
      timeoutMs: options.readTimeoutMs,
      signal: c.req.raw.signal,
      owner: boundTokenOf(stream.shares),
    });
    return cursorResponse(c, next, toStreamedLines(pieces));
  }
  const { next, results } = await runAll(c, hrana, request);
  // As one text, which counts as unread from now on: rows that wait to become lines would count nowhere.
  return cursorResponse(c, next, [[...toCursorLines(results)].join('')]);
}

/** Runs a request whose results are in memory as a whole. @throws OnewriterError RATE_LIMITED where no room is left for them */
async function runAll(
  c: Context<GatewayEnv>,
  hrana: Hrana,
  request: StreamRequest,
): Promise<{ readonly next: string | null; readonly results: readonly StepResult[] }> {
  const { stream, steps } = request;
  // An answer that reports a commit is never refused, nor one that reports only errors.
  const mayWrite = hrana.runner.needsWriter(stream, steps);
  const results = await run(c, hrana, request);
  const next = finish(c, hrana, request);
  if (mayWrite || results.every(({ type }) => type !== 'ok')) return { next, results };
  try {
    c.get('assertAnswerRoom')();
  } catch (error) {
    // Its baton is used up.
    hrana.streams.end(stream);
    throw error;
  }
  return { next, results };
}

/** Whose stream it is. @throws OnewriterError NOT_FOUND, INVALID_ARGUMENT, INVALID_TENANT, FORBIDDEN, RATE_LIMITED */
export async function authorizeStream(c: Context<GatewayEnv>, options: GatewayOptions) {
  const id = readTenant(c, options.hrana.hostDomain);
  const tenant = await authorizeTenant(c, options.limits, id, 'read');
  return { tenant, access: c.get('access') };
}

/** Nothing has happened before this; what it refuses leaves the stream and its baton as they were. */
function begin(
  c: Context<GatewayEnv>,
  { hrana, verifyToken }: GatewayOptions,
  { stream, steps, closes }: StreamRequest,
  sqls: SqlStore,
): void {
  if (hrana.runner.needsWriter(stream, steps)) assertAccess(c.get('access'), 'write', stream.tenant);
  const mayBegin = !closes && !onlyStatements(steps);
  const mayHold = !closes && (sqls.size > 0 || isHolding(stream) || mayBegin);
  const mayRead = mayBegin && !hrana.runner.needsWriter(stream, steps);
  // The watch outlives the request: it must not keep its context.
  const token = c.get('token');
  hrana.streams.begin(stream, sqls, { mayHold, mayRead }, () => verifyToken(token));
}

async function run(
  c: Context<GatewayEnv>,
  hrana: Hrana,
  { stream, steps, closes }: StreamRequest,
): Promise<readonly StepResult[]> {
  try {
    const requestId = c.get('requestId');
    const sender = senderOf(c.get('access'));
    return await hrana.runner.run(stream, steps, { closes, signal: c.req.raw.signal, requestId, sender });
  } catch (error) {
    hrana.streams.end(stream);
    throw error;
  }
}

/** @returns the baton for the next request; null where the stream has ended */
function finish(c: Context<GatewayEnv>, hrana: Hrana, { stream, closes }: StreamRequest): string | null {
  // A client that went away never gets the baton, so the transaction could not continue.
  if (!closes && !c.req.raw.signal.aborted) return hrana.streams.finish(stream);
  hrana.streams.end(stream);
  return null;
}

function onlyReads(steps: readonly PlannedStep[]): boolean {
  return steps.every(({ classes }) =>
    classes.every(
      known => known.kind === 'refused' || (known.kind === 'statement' && known.statement.kind === 'read'),
    ),
  );
}

function onlyStatements(steps: readonly PlannedStep[]): boolean {
  return steps.every(({ classes }) =>
    classes.every(({ kind }) => kind === 'statement' || kind === 'refused'),
  );
}

function cursorResponse(
  c: Context<GatewayEnv>,
  baton: string | null,
  lines: Iterable<string> | AsyncIterable<string>,
): Response {
  return c.body(toLineStream(toCursorBody(baton, lines)), 200, { 'content-type': NDJSON });
}

async function* toCursorBody(
  baton: string | null,
  lines: Iterable<string> | AsyncIterable<string>,
): AsyncGenerator<string, void, undefined> {
  yield `${JSON.stringify({ baton, base_url: null })}\n`;
  try {
    yield* lines;
  } catch (error) {
    yield toErrorLine(toHranaError(toStepError(asOnewriterError(error))));
  }
}
