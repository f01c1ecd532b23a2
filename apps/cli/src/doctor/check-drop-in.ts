import { groupKeys, isOnewriterError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { openGateway } from '../open-gateway.ts';
import type { Target } from '../target.ts';
import { bad, type Diagnosis, ok, skipped } from './diagnosis.ts';

const METRICS_TIMEOUT_MS = 3_000;
const NETWORK = /^onewriter_gateway_tokenless_networks\{network="([^"]+)"\} 1$/gm;

/** Looks at which networks need no token, as the running gateway has it. */
export async function checkTokenless(target: Target): Promise<Diagnosis> {
  try {
    const gateway = await openGateway(target);
    const response = await gateway.request('/metrics', { timeoutMs: METRICS_TIMEOUT_MS });
    return judgeTokenless(await response.text());
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return skipped('tokenless', error.message);
  }
}

/** @param metrics in Prometheus' text format */
export function judgeTokenless(metrics: string): Diagnosis {
  const networks = [...metrics.matchAll(NETWORK)].map(match => match[1]!);
  if (networks.length === 0) return ok('tokenless', 'every request at the gateway needs a token');
  const isEverywhere = networks.some(network => network.endsWith('/0'));
  return bad(
    isEverywhere ? 'error' : 'warning',
    'tokenless',
    `${isEverywhere ? 'Every process that reaches the gateway' : `Every process at ${networks.join(', ')}`} reads and writes all tenants without a token.`,
    'Give these clients tokens, then unset ONEWRITER_DROP_IN_TOKENLESS; until then let only their addresses reach the gateway (SECURITY.md).',
  );
}

const USES = {
  strings: {
    setting: 'ONEWRITER_DROP_IN_DOUBLE_QUOTES',
    what: 'send strings in double quotes',
    next: 'Have these apps write strings in single quotes',
  },
  ddl: {
    setting: 'ONEWRITER_DROP_IN_REPEATED_DDL',
    what: 'repeat schema changes',
    next: 'Have these apps use IF NOT EXISTS and look before ADD COLUMN',
  },
} as const;
const MAX_NAMES = 10;

/** Says whose drop-in clients need a setting, from what the gateways counted; forgotten once 30 days had no use. */
export async function checkDropInUses(target: Target, redis: Redis): Promise<Diagnosis[]> {
  return judgeDropInUses(await redis.hgetall(groupKeys(target.group).dropInUses));
}

/** @param counts by `<use>:<tenant>` */
export function judgeDropInUses(counts: Readonly<Record<string, string>>): Diagnosis[] {
  return Object.entries(USES).flatMap(([use, { setting, what, next }]) => {
    const tenants = Object.entries(counts)
      .filter(([field]) => field.startsWith(`${use}:`))
      .map(([field, count]) => ({ tenant: field.slice(use.length + 1), count: Number(count) }))
      .sort((a, b) => b.count - a.count || a.tenant.localeCompare(b.tenant));
    if (tenants.length === 0) return [];
    const named = tenants.slice(0, MAX_NAMES).map(({ tenant, count }) => `${tenant} (${count})`);
    const rest = tenants.length > MAX_NAMES ? ` and ${tenants.length - MAX_NAMES} more` : '';
    return bad(
      'note',
      `drop-in-${use}`,
      `Drop-in clients of ${tenants.length === 1 ? '1 tenant' : `${tenants.length} tenants`} ${what}: ${named.join(', ')}${rest}.`,
      `${next}; then unset ${setting}.`,
    );
  });
}
