import type { BrokerStatus, MetricSample, MetricSource } from '@onewriter/protocol';

/** Makes a metric whose values are read from the status of the leader. */
export type Family = (
  name: string,
  help: string,
  read: (status: BrokerStatus) => readonly MetricSample[],
  type?: MetricSource['type'],
) => MetricSource;

/** Reads one value of a part of the status: none where the part is missing or the value is null. */
export function valueIn<Part>(
  partOf: (status: BrokerStatus) => Part | undefined,
  read: (part: Part, status: BrokerStatus) => number | null,
): (status: BrokerStatus) => readonly MetricSample[] {
  return status => {
    const part = partOf(status);
    const value = part === undefined ? null : read(part, status);
    return value === null ? [] : [{ labels: {}, value }];
  };
}
