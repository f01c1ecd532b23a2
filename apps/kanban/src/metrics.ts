import type { Onewriter } from '@onewriter/sdk';
import { collectDefaultMetrics, Registry } from 'prom-client';

/** The app's metrics for Prometheus: the process' own, and those of its Onewriter client. Yours would go here, too. */
export function createMetrics(onewriter: Pick<Onewriter, 'exposeMetrics'>): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  onewriter.exposeMetrics(registry);
  return registry;
}
