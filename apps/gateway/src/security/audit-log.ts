import { groupKeys, OnewriterError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { Redis } from 'ioredis';
import type { GatewayEnv } from '../gateway-env.ts';

/** What an admin can do that is written down. */
export type AuditAction = 'tenant.create' | 'tenant.pause' | 'tenant.resume' | 'tenant.delete';

/** One thing that somebody did, or tried to do. */
export interface AuditEntry {
  /** Of the stream in Redis; rises. */
  readonly id: string;
  /** ISO time. */
  readonly at: string;
  readonly action: string;
  readonly tenant: string;
  /** `ok`, or the code of the error. */
  readonly outcome: string;
  /** The token's `sub`; '' where it has none. */
  readonly subject: string;
  /** The token's id, which tells nothing about the token. */
  readonly token: string;
  readonly requestId: string;
  readonly address: string;
}

/** Writes down what admins do, in Redis and in the log. */
export interface AuditLog {
  /** Does `work` and writes down how it ended. */
  record<T>(c: Context<GatewayEnv>, action: AuditAction, tenant: string, work: () => Promise<T>): Promise<T>;
  /** The newest first. @param before an entry's id: only older ones. */
  list(limit: number, before: string | undefined): Promise<AuditEntry[]>;
}

/** Entries that are kept in Redis, about; the process's log has them all. */
const MAX_ENTRIES = 10_000;

/** An {@link AuditLog} in the group's stream. */
export function createAuditLog(redis: Redis, group: string, log: Logger): AuditLog {
  const key = groupKeys(group).audit;

  async function write(c: Context<GatewayEnv>, action: string, tenant: string, outcome: string) {
    const access = c.get('access');
    const entry = {
      at: new Date().toISOString(),
      action,
      tenant,
      outcome,
      subject: access.subject ?? '',
      token: access.id,
      requestId: c.get('requestId'),
      address: c.env.incoming?.socket.remoteAddress ?? '',
    };
    log.info({ audit: true, ...entry }, `Admin: ${action} ${tenant}: ${outcome}`);
    try {
      await redis.xadd(key, 'MAXLEN', '~', MAX_ENTRIES, '*', ...Object.entries(entry).flat());
    } catch (error) {
      log.warn({ err: error }, 'The audit entry is only in this log: Redis does not take it');
    }
  }

  return {
    async record(c, action, tenant, work) {
      try {
        const result = await work();
        await write(c, action, tenant, 'ok');
        return result;
      } catch (error) {
        await write(c, action, tenant, error instanceof OnewriterError ? error.code : 'INTERNAL');
        throw error;
      }
    },
    async list(limit, before) {
      const entries = await redis.xrevrange(
        key,
        before === undefined ? '+' : `(${before}`,
        '-',
        'COUNT',
        limit,
      );
      return entries.map(([id, fields]) => {
        const entry: Record<string, string> = {};
        for (let index = 0; index + 1 < fields.length; index += 2) entry[fields[index]!] = fields[index + 1]!;
        return { id, ...entry } as unknown as AuditEntry;
      });
    },
  };
}
