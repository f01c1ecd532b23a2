import { askRedis } from '@onewriter/protocol';
import type { VerifiedToken } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import type { OperationRequest } from '../../operations/operation-runner.ts';
import { type Owner, ownerOf } from '../../security/shares.ts';
import { whoAsks } from '../../security/who-asks.ts';

/**
 * Starts an operation, and answers with its record.
 * @param tenants that it is about; null: all
 * @param detail for the audit log
 * @throws OnewriterError RATE_LIMITED, QUEUE_UNAVAILABLE
 */
export async function startOperation(
  c: Context<GatewayEnv>,
  { audit, operations }: Pick<GatewayOptions, 'audit' | 'operations'>,
  request: OperationRequest,
  tenants: readonly string[] | null,
  detail: string,
): Promise<Response> {
  const owner = ownerOfWork(c.get('access'), tenants);
  const start = () => operations.runner.start(request, whoAsks(c), owner);
  const tenant = tenants?.length === 1 ? tenants[0]! : '';
  const id = await audit.record(c, 'operation.start', tenant, start, detail);
  c.header('location', `/v1/operations/${id}`);
  return c.json(await askRedis(() => operations.store.get(id)), 202);
}

/** What counts for each tenant that it is about. */
export function ownerOfWork(access: VerifiedToken, tenants: readonly string[] | null): Owner {
  const { names, isFleet } = ownerOf(access);
  const ofTenants = (tenants ?? []).map(tenant => `tenant ${tenant}`);
  return { names: [...new Set([...names, ...ofTenants])], isFleet };
}
