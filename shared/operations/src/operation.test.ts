import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isOperationId, LOST_AFTER_MS, measureProgress, type RecordFields, readRecord } from './operation.ts';
import { firstFitting, newOperationId } from './operation-store.ts';

const NOW = 1_800_000_000_000;
const RUNNING: RecordFields = {
  kind: 'backup',
  state: 'running',
  who: 'alice@host (command line)',
  tenants: '["acme"]',
  unit: 'tenants',
  done: '5',
  total: '20',
  createdAt: String(NOW - 12_000),
  startedAt: String(NOW - 10_000),
  renewedAt: String(NOW - 500),
};

describe('readRecord', () => {
  it('measures rate and time that is left', () => {
    expect(readRecord('op-1', RUNNING, NOW)).toMatchObject({
      state: 'running',
      tenants: ['acme'],
      endedAt: null,
      progress: { done: 5, total: 20, unit: 'tenants', perSecond: 0.5, remainingMs: 30_000 },
    });
  });

  it('is interrupted where its process does not renew it, and running again when it does', () => {
    const later = NOW + LOST_AFTER_MS;
    expect(readRecord('op-1', RUNNING, later)).toMatchObject({
      state: 'interrupted',
      endedAt: new Date(NOW - 500).toISOString(),
      error: { code: 'ABORTED' },
      progress: { remainingMs: null },
    });
    const renewed = { ...RUNNING, renewedAt: String(later - 1) };
    expect(readRecord('op-1', renewed, later)).toMatchObject({ state: 'running', error: null });
  });

  it('keeps how one ended, however long ago', () => {
    const done = { ...RUNNING, state: 'done', endedAt: String(NOW), result: '{"tenants":20}' };
    expect(readRecord('op-1', done, NOW * 2)).toMatchObject({
      state: 'done',
      result: { tenants: 20 },
      error: null,
    });
  });

  it.each([{}, { ...RUNNING, kind: 'dance' }, { ...RUNNING, state: 'asleep' }])(
    'ignores what is no record',
    fields => {
      expect(readRecord('op-1', fields as RecordFields, NOW)).toBeUndefined();
    },
  );
});

describe('measureProgress', () => {
  it('never says that less than nothing is left', () => {
    fc.assert(
      fc.property(fc.nat(), fc.option(fc.nat()), fc.nat(), (done, total, elapsedMs) => {
        const { perSecond, remainingMs } = measureProgress(done, total, 'tenants', elapsedMs);
        if (perSecond !== null) expect(perSecond).toBeGreaterThan(0);
        if (remainingMs !== null) expect(remainingMs).toBeGreaterThanOrEqual(0);
        if (total === null || done === 0) expect(remainingMs).toBeNull();
      }),
    );
  });
});

describe('firstFitting', () => {
  it('keeps a part, from the first, that fits into a record', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 20_000, size: 'max' }), { maxLength: 30 }), items => {
        const kept = firstFitting(items);
        expect(items.slice(0, kept.length)).toEqual(kept);
        expect(JSON.stringify(kept).length).toBeLessThan(40 * 1024);
      }),
    );
    expect(firstFitting(['a', 'b'])).toEqual(['a', 'b']);
  });
});

it('makes ids that it knows again', () => {
  expect(isOperationId(newOperationId())).toBe(true);
  for (const text of ['', 'op-', 'op-../x', `${newOperationId()}:log`])
    expect(isOperationId(text)).toBe(false);
});
