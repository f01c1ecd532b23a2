import { OnewriterError, readOwnTablesLater } from '@onewriter/protocol';
import type { GatewayOptions } from '../../../gateway-options.ts';
import type { ReadAnswer } from '../../../reads/tenant-reads.ts';
import type { z } from '../schemas.ts';
import { type Summary, type Tenant, toSummary } from './tenant-shapes.ts';

/**
 * The answer about a tenant. Where Redis is away, it throws Redis' own error: before anything is done askRedis makes
 * QUEUE_UNAVAILABLE of it, afterwards that would say that nothing was.
 * @throws OnewriterError TENANT_NOT_FOUND
 */
export async function describeTenant(
  options: GatewayOptions,
  tenant: string,
): Promise<z.output<typeof Tenant>> {
  const entry = await options.tenants.catalogue.find(tenant);
  if (entry === undefined) {
    throw new OnewriterError('TENANT_NOT_FOUND', `There is no tenant ${tenant}.`, { tenant });
  }
  const known = { ...toSummary(entry), commitSeq: null, lastWrite: null };
  if (entry.size === undefined) return known;
  let answer: ReadAnswer;
  try {
    const sql = 'SELECT committed_at FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1';
    answer = await readOwnTablesLater(names =>
      options.reads.read({ tenant, statements: [{ sql: names(sql) }], timeoutMs: options.readTimeoutMs }),
    );
  } catch (error) {
    // Never written by a broker, or damaged: the rest is still true.
    if (error instanceof OnewriterError) return known;
    throw error;
  }
  const committedAt = answer.results[0]?.rows[0]?.[0];
  return {
    ...known,
    commitSeq: answer.commitSeq ?? null,
    lastWrite: typeof committedAt === 'number' ? new Date(committedAt).toISOString() : null,
  };
}

/** Tenants after the name `after`, by name, of those that `covers` lets through. */
export async function pageOfTenants(
  { tenants }: GatewayOptions,
  after: string,
  limit: number,
  covers: (tenant: string) => boolean,
): Promise<{ tenants: z.output<typeof Summary>[]; next: string | null }> {
  const names = (await tenants.catalogue.names()).filter(name => name > after && covers(name));
  const shown = names.slice(0, limit);
  const entries = await tenants.catalogue.look(shown);
  return { tenants: entries.map(toSummary), next: names.length > limit ? shown.at(-1)! : null };
}
