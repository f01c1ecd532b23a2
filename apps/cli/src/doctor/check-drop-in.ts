import { isOnewriterError } from '@onewriter/protocol';
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
