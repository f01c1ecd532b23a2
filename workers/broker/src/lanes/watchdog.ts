import type { Lane, LaneWork } from './lane.ts';

/** A write that runs past its deadline. */
export interface StuckWrite {
  readonly lane: Lane;
  readonly work: LaneWork;
  readonly jobId: string;
  /** Index of the write in its job. */
  readonly op: number;
  readonly ranMs: number;
}

interface Seen {
  readonly work: LaneWork;
  readonly job: number;
  readonly op: number;
  readonly since: number;
}

/**
 * Watches the position of each thread: better-sqlite3 cannot interrupt a statement, and its thread cannot watch itself. A write
 * that stays the same for longer than its deadline is reported, once.
 */
export class Watchdog {
  readonly #lanes: () => readonly Lane[];
  readonly #seen = new Map<Lane, Seen>();
  readonly #timer: NodeJS.Timeout;
  readonly #reported = new WeakSet<LaneWork>();

  /** @param timeoutMs the current deadline of a write. @param onStuck called for a write that is over it. */
  constructor(lanes: () => readonly Lane[], timeoutMs: () => number, onStuck: (stuck: StuckWrite) => void) {
    this.#lanes = lanes;
    const everyMs = Math.min(Math.max(timeoutMs() / 20, 20), 250);
    this.#timer = setInterval(() => {
      const now = performance.now();
      const limitMs = timeoutMs();
      for (const lane of lanes()) {
        const stuck = this.#look(lane, now);
        if (stuck !== undefined && stuck.ranMs > limitMs && !this.#reported.has(stuck.work)) {
          this.#reported.add(stuck.work);
          onStuck(stuck);
        }
      }
    }, everyMs);
  }

  /** Idempotent. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** Writes that have run for at least so long by now. */
  runningFor(leastMs: number): readonly StuckWrite[] {
    const now = performance.now();
    return this.#lanes().flatMap(lane => {
      const running = this.#look(lane, now);
      return running !== undefined && running.ranMs >= leastMs ? [running] : [];
    });
  }

  #look(lane: Lane, now: number): StuckWrite | undefined {
    const { work } = lane;
    if (work === undefined) {
      this.#seen.delete(lane);
      return undefined;
    }
    const { job, op } = lane.position;
    const seen = this.#seen.get(lane);
    if (seen === undefined || seen.work !== work || seen.job !== job || seen.op !== op) {
      this.#seen.set(lane, { work, job, op, since: now });
      return undefined;
    }
    const jobId = work.task.jobs[job]?.id;
    return jobId === undefined ? undefined : { lane, work, jobId, op, ranMs: now - seen.since };
  }
}
