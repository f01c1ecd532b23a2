import { OnewriterError, toWireError } from '@onewriter/protocol';
import { type FollowedEvent, followCommits, type LedgerPosition } from '../../events/commit-events.ts';
import { asOnewriterError } from '../../http/error-response.ts';
import { authorizeTenant } from '../../security/authorize.ts';
import { endOfToken } from '../../security/end-of-token.ts';
import { ownerOf, Shares } from '../../security/shares.ts';
import { releaseAfter, toLineStream } from '../../streams/line-response.ts';
import { type Api, addRoute } from './api.ts';
import { createRoute, FAILURE, SECURED, TenantParam, z } from './schemas.ts';

const EVENT_STREAM = 'text/event-stream';

const route = createRoute({
  method: 'get',
  path: '/v1/tenants/{tenant}/events',
  operationId: 'events',
  summary: 'Follow the commits of a tenant',
  description:
    'Server-sent events: "commit" with {"commitSeq", "committedAt", "receipts", "failed"}, in order, each once; "ready" ' +
    'when it begins; "gap" where what was asked for is no longer there, also as the tenant was deleted and created again, ' +
    'or restored: read the data again, and continue with the commits that follow; "error" before it ends ' +
    'with one. Without Last-Event-ID it begins now. It ends after half an hour or with its token, and a client continues where it was.',
  security: SECURED,
  request: {
    params: TenantParam,
    headers: z.object({
      'last-event-id': z
        .string()
        .optional()
        .openapi({ description: 'The id of the last event that was seen.' }),
    }),
  },
  responses: {
    200: { description: 'Events.', content: { [EVENT_STREAM]: { schema: z.string() } } },
    ...FAILURE,
  },
});

/** The number of the commit, its place in the ledger, and the file where that is not a tenant's first. */
const EVENT_ID = /^(\d{1,15})\.(\d{1,15})(?:\.([0-9a-f]{1,64}))?$/;
const MAX_STREAMS = 200;
/** Clients reconnect, so that a gateway which is replaced loses its streams in time. */
const MAX_LIFE_MS = 30 * 60_000;
/** What a client waits before it comes back. */
const RECONNECT_AFTER_MS = 1_000;

/** `GET /v1/tenants/{tenant}/events` */
export function addEventsRoute(api: Api): void {
  const { options } = api;
  const slots = new Shares({ what: 'streams of events', total: MAX_STREAMS });
  addRoute(api, route, api.guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    const after = readPosition(c.req.header('last-event-id'));
    if ((await options.tenants.files.size(tenant)) === undefined) {
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
    }
    const { release } = slots.take(ownerOf(c.get('access'), tenant));
    const gone = new AbortController();
    const tokenEnd = endOfToken(c, options.verifyToken);
    const signal = AbortSignal.any([
      gone.signal,
      tokenEnd,
      c.req.raw.signal,
      options.closing,
      AbortSignal.timeout(MAX_LIFE_MS),
    ]);
    const events = followCommits({
      reads: options.reads,
      files: options.tenants.files,
      tenant,
      after,
      readTimeoutMs: options.readTimeoutMs,
      signal,
    });
    const texts = releaseAfter(toTexts(events, tokenEnd), () => {
      gone.abort();
      release();
    });
    return c.body(toLineStream(texts), 200, { 'content-type': EVENT_STREAM, 'x-accel-buffering': 'no' });
  });
}

/** @throws OnewriterError INVALID_ARGUMENT */
function readPosition(id: string | undefined): LedgerPosition | undefined {
  if (id === undefined || id === '') return undefined;
  const match = EVENT_ID.exec(id);
  if (match === null)
    throw new OnewriterError('INVALID_ARGUMENT', 'Last-Event-ID is not an id of this stream.');
  return { commitSeq: Number(match[1]), ledgerId: Number(match[2]), incarnation: match[3] ?? '' };
}

async function* toTexts(
  events: AsyncIterable<FollowedEvent>,
  tokenEnd: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  yield `retry: ${RECONNECT_AFTER_MS}\n\n`;
  try {
    for await (const event of events) yield toText(event);
    tokenEnd.throwIfAborted();
  } catch (error) {
    yield `event: error\ndata: ${JSON.stringify(toWireError(asOnewriterError(error)))}\n\n`;
  }
}

/** Source: html.spec.whatwg.org, 9.2 Server-sent events */
function toText(event: FollowedEvent): string {
  if (event.type === 'quiet') return ': quiet\n\n';
  const { commitSeq, ledgerId, incarnation } = event.position;
  const id = `${commitSeq}.${ledgerId}${incarnation === '' ? '' : `.${incarnation}`}`;
  const data = event.type === 'commit' ? event.commit : { commitSeq };
  return `event: ${event.type}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
}
