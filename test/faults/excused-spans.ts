import type { TimeSpan } from './oracle/options.ts';

const spans = new WeakMap<object, TimeSpan[]>();

/** Spans of time of a rig in which accepted writes may be lost, because the fault itself took them away. */
export function excused(rig: object): readonly TimeSpan[] {
  return spans.get(rig) ?? [];
}

/** Adds one. */
export function excuse(rig: object, span: TimeSpan): void {
  spans.set(rig, [...excused(rig), span]);
}
