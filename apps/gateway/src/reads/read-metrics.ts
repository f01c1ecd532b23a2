import { type MetricSource, singleMetric } from '@onewriter/protocol';
import type { QuickReads } from './quick-reads.ts';
import type { ReadProcesses } from './read-processes.ts';

/** Metrics of the gateway's reads. */
export function readMetrics(quick: QuickReads, processes: ReadProcesses): MetricSource[] {
  return [
    {
      name: 'onewriter_gateway_reads_total',
      help: 'Reads by where they ran: lookups by key in the gateway, all others in processes that can be stopped.',
      type: 'counter',
      read: () => [
        { labels: { where: 'gateway' }, value: quick.counts.quick },
        { labels: { where: 'process' }, value: quick.counts.other },
      ],
    },
    singleMetric(
      'gauge',
      'onewriter_gateway_read_processes',
      'Processes that run reads.',
      () => processes.size,
    ),
    singleMetric(
      'gauge',
      'onewriter_gateway_open_files',
      'Tenant files that are open for reading.',
      () => quick.openFiles,
    ),
  ];
}
