import { OnewriterError } from '@onewriter/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { watchAccess } from './watch-access.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('ends once, and only when the token has ended', async () => {
  const answers: (OnewriterError | undefined)[] = [
    undefined,
    new OnewriterError('KEYS_UNAVAILABLE', 'Later.'),
    new OnewriterError('UNAUTHENTICATED', 'The token has expired.'),
  ];
  const check = vi.fn(async () => {
    const error = answers.shift();
    if (error !== undefined) throw error;
  });
  const onEnd = vi.fn();
  watchAccess(check, onEnd);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(check).toHaveBeenCalledTimes(2);
  expect(onEnd).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(check).toHaveBeenCalledTimes(3);
  expect(onEnd).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 'UNAUTHENTICATED' }));
});

it('does nothing more when it was ended', async () => {
  const check = vi.fn(async () => {
    throw new OnewriterError('UNAUTHENTICATED', 'The token was revoked.');
  });
  const onEnd = vi.fn();
  watchAccess(check, onEnd)();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(check).not.toHaveBeenCalled();
  expect(onEnd).not.toHaveBeenCalled();
});
