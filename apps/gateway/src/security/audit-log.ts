import { OnewriterError } from '@onewriter/protocol';
import { type AuditEntry, appendAudit, type Logger, readAudit } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { Redis } from 'ioredis';
import type { GatewayEnv } from '../gateway-env.ts';

/** What an admin can do that is written down. */
export type AuditAction =
  | 'tenant.create'
  | 'tenant.pause'
  | 'tenant.set'
  | 'tenant.resume'
  | 'tenant.delete'
  | 'tenant.hibernate'
  | 'tenant.wake'
  | 'operation.start'
  | 'operation.cancel'
  | 'token.revoke';

/** Writes down what admins do, in Redis and in the log. */
export interface AuditLog {
  /** Does `work` and writes down how it ended. */
  record<T>(
    c: Context<GatewayEnv>,
    action: AuditAction,
    tenant: string,
    work: () => Promise<T>,
    detail?: string,
  ): Promise<T>;
  /** The newest first. @param before an entry's id: only older ones. */
  list(limit: number, before: string | undefined): Promise<AuditEntry[]>;
}

/** An {@link AuditLog} in the group's stream. */
export function createAuditLog(redis: Redis, group: string, log: Logger): AuditLog {
  async function write(
    c: Context<GatewayEnv>,
    action: string,
    tenant: string,
    outcome: string,
    detail: string | undefined,
  ) {
    const access = c.get('access');
    await appendAudit(redis, group, log, {
      action,
      tenant,
      outcome,
      subject: access.subject ?? '',
      token: access.id,
      requestId: c.get('requestId'),
      address: c.env.incoming?.socket.remoteAddress ?? '',
      ...(detail === undefined || detail === '' ? {} : { detail }),
    });
  }

  return {
    async record(c, action, tenant, work, detail) {
      try {
        const result = await work();
        await write(c, action, tenant, 'ok', detail);
        return result;
      } catch (error) {
        await write(c, action, tenant, error instanceof OnewriterError ? error.code : 'INTERNAL', detail);
        throw error;
      }
    },
    list: (limit, before) => readAudit(redis, group, limit, before),
  };
}
