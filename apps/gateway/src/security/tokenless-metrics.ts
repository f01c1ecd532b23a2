import type { MetricSource } from '@onewriter/protocol';
import type { Tokenless } from './tokenless.ts';

/** Which networks need no token at the drop-in routes, and how many requests came without one. `onewriter doctor` reads the first. */
export function tokenlessMetrics(tokenless: Pick<Tokenless, 'networks' | 'counts'>): MetricSource[] {
  return [
    {
      name: 'onewriter_gateway_tokenless_networks',
      help: 'Networks whose peers use the drop-in routes without a token.',
      type: 'gauge',
      read: () => tokenless.networks.map(network => ({ labels: { network }, value: 1 })),
    },
    {
      name: 'onewriter_gateway_tokenless_requests_total',
      help: 'Requests without a token at the drop-in routes, where some networks need none.',
      type: 'counter',
      read: () => [
        { labels: { result: 'admitted' }, value: tokenless.counts.admitted },
        { labels: { result: 'refused' }, value: tokenless.counts.refused },
      ],
    },
  ];
}
