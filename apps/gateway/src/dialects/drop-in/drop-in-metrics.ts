import type { MetricSource } from '@onewriter/protocol';
import type { DropInUses } from './drop-in-uses.ts';

/** How often a statement of a drop-in client was changed, because a setting allows it. */
export function dropInMetric({ totals }: Pick<DropInUses, 'totals'>): MetricSource {
  return {
    name: 'onewriter_gateway_drop_in_changes_total',
    help: 'Statements of drop-in clients that were changed: strings in double quotes, schema changes that were made before.',
    type: 'counter',
    read: () => Object.entries(totals).map(([use, value]) => ({ labels: { use }, value })),
  };
}
