import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { firstExpiry, limitsOfRedelivered, TransactionLease } from './transaction-lease.ts';

const NOW = 1_000_000;
const LIMITS = { timeoutMs: 5_000, idleMs: 2_000, maxMs: 60_000 };

beforeEach(
  () => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'], now: NOW }),
);
afterEach(() => void vi.useRealTimers());

function open(canLook = true) {
  const seen = { expired: 0, looks: 0 };
  const lease = new TransactionLease(
    't-1',
    'client',
    LIMITS,
    () => seen.expired++,
    canLook ? () => seen.looks++ : undefined,
  );
  return { lease, seen };
}

it('lasts to its maximum while no others wait', () => {
  const { lease, seen } = open();
  vi.advanceTimersByTime(LIMITS.maxMs - 1);
  expect([lease.expired, seen.expired]).toEqual([false, 0]);
  vi.advanceTimersByTime(1);
  expect([lease.expired, seen.expired]).toEqual([true, 1]);
});

it('ends when others wait and its client is silent for too long', () => {
  const { lease, seen } = open();
  lease.noteOthers(true);
  vi.advanceTimersByTime(LIMITS.idleMs - 1);
  lease.touch();
  vi.advanceTimersByTime(LIMITS.idleMs - 1);
  expect(seen.expired).toBe(0);
  vi.advanceTimersByTime(1);
  expect(seen.expired).toBe(1);
});

it('of a redelivered job ends soon when others wait and its client does not continue it', () => {
  const limits = limitsOfRedelivered({ ...LIMITS, idleMs: 4_000 });
  expect(firstExpiry(limits)).toBe(NOW + 1_000);
  expect(limitsOfRedelivered({ ...LIMITS, idleMs: 300 }).firstIdleMs).toBe(300);
  for (const continued of [false, true]) {
    let expired = 0;
    const lease = new TransactionLease('t-1', 'client', limits, () => expired++, undefined);
    lease.noteOthers(true);
    vi.advanceTimersByTime(500);
    if (continued) lease.touch();
    vi.advanceTimersByTime(3_000);
    expect([expired, lease.expired]).toEqual(continued ? [0, false] : [1, true]);
    lease.close();
  }
});

it('ends when others wait and it is too old, however often its client is heard from', () => {
  const { lease, seen } = open();
  lease.noteOthers(true);
  for (let ms = 0; ms < LIMITS.timeoutMs - 1_000; ms += 1_000) {
    vi.advanceTimersByTime(1_000);
    lease.touch();
  }
  expect(seen.expired).toBe(0);
  vi.advanceTimersByTime(1_000);
  expect(seen.expired).toBe(1);
});

it('ends at once when others come after it has become too old, and not where they have gone', () => {
  const { lease, seen } = open();
  lease.noteOthers(true);
  lease.noteOthers(false);
  vi.advanceTimersByTime(LIMITS.timeoutMs + 1);
  expect(seen.expired).toBe(0);
  lease.noteOthers(true);
  vi.advanceTimersByTime(0);
  expect(seen.expired).toBe(1);
});

it('looks for its client once a second while others wait', () => {
  const { lease, seen } = open();
  vi.advanceTimersByTime(1_500);
  expect(seen.looks).toBe(0);
  lease.noteOthers(true);
  vi.advanceTimersByTime(1_999);
  expect(seen.looks).toBe(1);
  lease.noteOthers(false);
  vi.advanceTimersByTime(10_000);
  expect(seen.looks).toBe(1);
});

it('does nothing once it is closed', () => {
  const { lease, seen } = open();
  lease.noteOthers(true);
  lease.close();
  lease.touch();
  vi.advanceTimersByTime(LIMITS.maxMs);
  expect([lease.expired, seen]).toEqual([true, { expired: 0, looks: 0 }]);
});

it('says when it may be taken away', () => {
  const { lease } = open();
  expect([firstExpiry(LIMITS), lease.expiresAt, lease.deadlineAt]).toEqual([
    ...[NOW + LIMITS.idleMs, NOW + LIMITS.idleMs, NOW + LIMITS.idleMs],
  ]);
  vi.advanceTimersByTime(1_000);
  expect([lease.ageMs, lease.deadlineAt]).toEqual([1_000, NOW + LIMITS.idleMs]);
  vi.advanceTimersByTime(3_000);
  lease.touch();
  // Its age counts then.
  expect([lease.expiresAt, lease.deadlineAt]).toEqual([NOW + LIMITS.timeoutMs, NOW + LIMITS.timeoutMs]);
});
