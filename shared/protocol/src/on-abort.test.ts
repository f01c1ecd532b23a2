import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onAbort } from './on-abort.ts';

describe('onAbort', () => {
  it('calls each that still waits, once, with one listener of the signal for all', () => {
    const controller = new AbortController();
    const called: number[] = [];
    const ends = Array.from({ length: 30 }, (_, index) =>
      onAbort(controller.signal, () => called.push(index)),
    );
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1);
    for (const end of ends.slice(2)) end();
    controller.abort();
    controller.abort();
    expect(called).toEqual([0, 1]);
  });
});
