import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';
import type { GatewayOptions } from '../gateway-options.ts';
import { senderOf } from '../security/sender.ts';

/** How a write waits for its answer. */
export interface WriteWait {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly requestId: string;
  readonly sender: string | undefined;
}

/**
 * Refuses a write of a tenant that is held, and says how long the write may wait: reading the request, and asking Redis who holds
 * the tenant, count towards the caller's deadline. Where Redis has not answered after half of what is left, the write proceeds
 * without an answer.
 *
 * @param timeoutMs the caller's; the gateway's own is the longest
 * @throws OnewriterError TENANT_PAUSED
 */
export async function admitWrite(
  c: Context<GatewayEnv>,
  options: Pick<GatewayOptions, 'pauses' | 'writeTimeoutMs'>,
  tenant: string,
  timeoutMs: number = Number.POSITIVE_INFINITY,
): Promise<WriteWait> {
  const wholeMs = Math.min(timeoutMs, options.writeTimeoutMs);
  const dueMs = c.get('receivedAt') + wholeMs;
  await options.pauses.assertNotPaused(tenant, Math.max(1, dueMs - performance.now()) / 2);
  return {
    timeoutMs: Math.max(1, Math.ceil(dueMs - performance.now())),
    signal: c.req.raw.signal,
    requestId: c.get('requestId'),
    sender: senderOf(c.get('access')),
  };
}
