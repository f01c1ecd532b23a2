import { describe, expect, it } from 'vitest';
import { waitFor } from './wait-for.ts';

describe('waitFor', () => {
  it('returns the first truthy value', async () => {
    let looks = 0;
    expect(await waitFor(() => (++looks === 3 ? 'third' : undefined), { intervalMs: 1 })).toBe('third');
  });

  it('treats an error as "not yet" and reports it at the deadline', async () => {
    const waiting = waitFor(() => Promise.reject(new Error('no route')), {
      timeoutMs: 30,
      intervalMs: 5,
      what: 'the server',
    });
    await expect(waiting).rejects.toThrow('Waited 30 ms for the server: no route');
  });

  it('does not outlive its deadline when the condition hangs', async () => {
    const started = performance.now();
    await expect(waitFor(() => new Promise(() => {}), { timeoutMs: 30 })).rejects.toThrow('did not answer');
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
