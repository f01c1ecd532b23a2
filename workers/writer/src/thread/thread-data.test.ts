import { expect, it } from 'vitest';
import { createThreadData, giveOptions, takeOptions } from './thread-data.ts';

const OPTIONS = {
  dataDir: `/${'dä'.repeat(1_000)}`,
  dbFile: 'tenant.db',
  createTenants: true,
  busyTimeoutMs: 100,
  maxOpenTenants: 10,
  retentionClock: { id: 'clock', offsetMs: -1.25 },
  exclusive: false,
};

it('gives a thread the options that it was started without', () => {
  const data = createThreadData();
  expect(() => takeOptions(data)).toThrow('no options');
  giveOptions(data, OPTIONS);
  expect(takeOptions(data)).toEqual({ ...OPTIONS, progress: data.progress });
});

it('refuses options that have no room', () => {
  expect(() => giveOptions(createThreadData(), { ...OPTIONS, dataDir: 'x'.repeat(20_000) })).toThrow(
    'too long',
  );
});
