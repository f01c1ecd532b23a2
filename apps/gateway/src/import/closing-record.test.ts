import { expect, it } from 'vitest';
import { startCpuClock } from '../../test-support/cpu-clock.ts';
import { readClosingRecord } from './closing-record.ts';

it('reads the record that closes an export, however many tables it names', () => {
  const omitted = Array.from({ length: 10_000 }, (_, index) => ({
    table: `shadow_${index}`,
    reason: 'virtual',
  }));
  for (const more of [{}, { omitted: omitted.slice(0, 3) }, { omitted }])
    expect(readClosingRecord(JSON.stringify({ onewriter_export: { rows: 3, ...more } }))).toBe(3);
  for (const line of [
    '{"onewriter_export":{"i":"5"}}',
    '{"onewriter_export":{"rows":1},"x":1}',
    '{"a":{"rows":3}}',
  ])
    expect(readClosingRecord(line)).toBeUndefined();
});

it('does not parse a long line, which would take seconds', () => {
  const names = Array.from({ length: 550_000 }, (_, index) => `"k${index}":1`).join();
  const cpuMs = startCpuClock();
  expect(readClosingRecord(`{"onewriter_export":{${names}}}`)).toBeUndefined();
  expect(cpuMs()).toBeLessThan(200);
});
