import { OnewriterError } from '@onewriter/protocol';
import { expect, test } from 'vitest';
import { PassingError, repeatCall } from './repeat-call.ts';

test('repeats what passes, and returns what the first good attempt returns', async () => {
  let attempts = 0;
  const value = await repeatCall('GET x', {}, async () => {
    if (++attempts < 3) throw new PassingError('503');
    return 'there';
  });
  expect([value, attempts]).toEqual(['there', 3]);
});

test('does not repeat what does not pass', async () => {
  let attempts = 0;
  const refused = new OnewriterError('REPLICA_REFUSED', 'no rights');
  await expect(
    repeatCall('GET x', {}, async () => {
      attempts++;
      throw refused;
    }),
  ).rejects.toBe(refused);
  expect(attempts).toBe(1);
});

test('does not pause after a connection that was closed while idle, and ends after 12 attempts', async () => {
  let attempts = 0;
  const before = performance.now();
  await expect(
    repeatCall('PUT x', {}, async () => {
      attempts++;
      throw new PassingError('EPIPE', { stale: true });
    }),
  ).rejects.toMatchObject({
    code: 'REPLICA_UNAVAILABLE',
    message: 'PUT x failed after 12 attempts: EPIPE.',
  });
  expect(attempts).toBe(12);
  expect(performance.now() - before).toBeLessThan(500);
});

test('ends at its deadline, also in the middle of an attempt that hangs', async () => {
  await expect(
    repeatCall('GET x', { timeoutMs: 30 }, signal => new Promise((_, reject) => abortOf(signal, reject))),
  ).rejects.toMatchObject({
    code: 'REPLICA_UNAVAILABLE',
    message: expect.stringContaining('no answer within 30 ms'),
  });
});

test('ends with the reason of the signal, in an attempt and in a pause', async () => {
  for (const fails of [true, false]) {
    const controller = new AbortController();
    const reason = new Error('not needed any more');
    const call = repeatCall('GET x', { signal: controller.signal }, async signal => {
      queueMicrotask(() => controller.abort(reason));
      if (fails) throw new PassingError('503');
      return new Promise((_, reject) => abortOf(signal, reject));
    });
    await expect(call).rejects.toBe(reason);
  }
});

function abortOf(signal: AbortSignal, reject: (error: Error) => void): void {
  signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
}
