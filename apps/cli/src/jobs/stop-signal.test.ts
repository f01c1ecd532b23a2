import { expect, it } from 'vitest';
import { stopSignal } from './stop-signal.ts';

it('ends the work with ABORTED, not with an internal error', () => {
  const before = new Set(process.listeners('SIGHUP'));
  const signal = stopSignal();
  // Not all listeners: those of the test runner end it.
  const [stop] = process.listeners('SIGHUP').filter(listener => !before.has(listener));
  expect(() => signal.throwIfAborted()).not.toThrow();
  stop!('SIGHUP');
  expect(() => signal.throwIfAborted()).toThrow(expect.objectContaining({ code: 'ABORTED' }));
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.removeListener(name, stop!);
});
