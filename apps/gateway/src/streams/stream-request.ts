import type { IncomingMessage } from 'node:http';

const STREAMED = /^\/v1\/tenants\/[^/]+\/(?:enqueue|import|load)(?:\?|$)/;

/** Whether a request's body is read as it arrives, however long that takes; its route gives up one that is silent. */
export function isStreamRequest(request: IncomingMessage): boolean {
  return request.method === 'POST' && STREAMED.test(request.url ?? '');
}
