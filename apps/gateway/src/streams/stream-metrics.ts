import { type MetricSource, singleMetric } from '@onewriter/protocol';
import type { StreamRooms } from './stream-room.ts';

/** Metrics of streams of writes: imports, and lines that are enqueued. */
export function streamMetrics(rooms: StreamRooms): MetricSource[] {
  return [
    singleMetric(
      'gauge',
      'onewriter_gateway_write_streams',
      'Imports and streams of enqueued writes that are under way.',
      () => rooms.used.streams,
    ),
    singleMetric(
      'gauge',
      'onewriter_gateway_stream_writes',
      'Rows and writes of such streams that were read and are not settled.',
      () => rooms.used.writes,
    ),
    singleMetric(
      'gauge',
      'onewriter_gateway_stream_bytes',
      'Bytes of the rows and writes of such streams that were read and are not settled.',
      () => rooms.used.bytes,
    ),
    {
      name: 'onewriter_gateway_stream_peak',
      help: 'The most there was since the start, of all streams and of those of one tenant.',
      type: 'gauge',
      read: () => [
        { labels: { of: 'all', unit: 'writes' }, value: rooms.peak.writes },
        { labels: { of: 'all', unit: 'bytes' }, value: rooms.peak.bytes },
        { labels: { of: 'tenant', unit: 'writes' }, value: rooms.peak.tenantWrites },
        { labels: { of: 'tenant', unit: 'bytes' }, value: rooms.peak.tenantBytes },
      ],
    },
  ];
}
