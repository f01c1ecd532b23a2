import type { BrokerStatus } from '@onewriter/protocol';

/** What is kept of a status for the plots, one entry every {@link HISTORY_EVERY_MS}; the oldest first. */
export interface HistoryColumns {
  /** When the last entry ends. */
  readonly endsAt: number;
  readonly everyMs: number;
  /** null: nothing was reported. */
  readonly writes: readonly (number | null)[];
  readonly failed: readonly (number | null)[];
  readonly p50: readonly (number | null)[];
  readonly p99: readonly (number | null)[];
  readonly depth: readonly (number | null)[];
}

interface Point {
  writes: number;
  failed: number | null;
  p50: number | null;
  p99: number | null;
  depth: number;
}

/** The interval of the leader's own history. */
const HISTORY_EVERY_MS = 5_000;
/** 15 minutes. */
export const HISTORY_LENGTH = 180;
/** 5 minutes: shown also where less is known. */
const MIN_LENGTH = 60;

/** The last quarter of an hour, in memory: at most {@link HISTORY_LENGTH} entries. */
export class History {
  /** By the number of the slot: time divided by its length. */
  readonly #points = new Map<number, Point>();

  /** Adds a status. The leader's own history fills what was not seen: this process may be younger. */
  add(status: BrokerStatus): void {
    const { history, writes, queue } = status;
    const end = slotOf(history.endsAt);
    const length = history.writesPerSecond.length;
    for (let index = 0; index < length; index++) {
      const slot = end - (length - 1 - index) * Math.round(history.everyMs / HISTORY_EVERY_MS);
      if (this.#points.has(slot)) continue;
      this.#points.set(slot, {
        writes: history.writesPerSecond[index]!,
        failed: null,
        p50: history.commitP50Ms[index] ?? null,
        p99: history.commitP99Ms[index] ?? null,
        depth: history.depth[index] ?? 0,
      });
    }
    const slot = slotOf(status.at);
    const point = this.#points.get(slot);
    // What a plot must not hide is the worst of a slot.
    this.#points.set(slot, {
      writes: writes.perSecond,
      failed: writes.failedPerSecond,
      p50: largest(point?.p50, writes.commitP50Ms),
      p99: largest(point?.p99, writes.commitP99Ms),
      depth: Math.max(point?.depth ?? 0, queue.depth),
    });
    for (const old of this.#points.keys()) if (old <= slot - HISTORY_LENGTH) this.#points.delete(old);
  }

  /** What is known of the quarter of an hour before `now`. */
  columns(now: number): HistoryColumns {
    const end = slotOf(now);
    const first = Math.min(end, ...this.#points.keys());
    const length = Math.max(MIN_LENGTH, Math.min(HISTORY_LENGTH, end - first + 1));
    const points = Array.from({ length }, (_, index) => this.#points.get(end - length + 1 + index));
    return {
      endsAt: now,
      everyMs: HISTORY_EVERY_MS,
      writes: points.map(point => point?.writes ?? null),
      failed: points.map(point => point?.failed ?? null),
      p50: points.map(point => point?.p50 ?? null),
      p99: points.map(point => point?.p99 ?? null),
      depth: points.map(point => point?.depth ?? null),
    };
  }
}

function slotOf(time: number): number {
  return Math.floor(time / HISTORY_EVERY_MS);
}

function largest(a: number | null | undefined, b: number | null): number | null {
  if (a === null || a === undefined) return b;
  return b === null ? a : Math.max(a, b);
}
