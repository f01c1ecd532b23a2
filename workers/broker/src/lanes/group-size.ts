import type { ApplyOutcome } from '@onewriter/writer';

/** Tenants' batches that go to the thread at a time, at most. */
const MAX_GROUP = 16;
/** Longest expected duration of a group. A tenant with new work comes only after the current group. */
const GROUP_MS = 100;
/** Expected duration of a batch before any was seen: some create files. */
const FIRST_BATCH_MS = 25;
/** Weight of the last batch in the expected duration. */
const LAST_BATCH_WEIGHT = 0.1;

/** How many batches go to a thread as a group, by how long it works at one. */
export class GroupSize {
  readonly #most: number;
  /** How long the thread works at a batch, as a moving average. */
  #batchMs = FIRST_BATCH_MS;

  constructor(most = MAX_GROUP) {
    this.#most = most;
  }

  /** Size of the next group. */
  get next(): number {
    return Math.max(1, Math.min(this.#most, Math.floor(GROUP_MS / this.#batchMs)));
  }

  /** Uses the thread's times, not ours: on a busy machine answers come late, and smaller groups would cost more. */
  note(outcome: ApplyOutcome): void {
    if (outcome.kind !== 'applied') return;
    const { openMs, applyMs, commitMs } = outcome.stats;
    // One long statement does not predict the next batches.
    const lastMs = Math.min(openMs + applyMs + commitMs, GROUP_MS);
    this.#batchMs += LAST_BATCH_WEIGHT * (lastMs - this.#batchMs);
  }
}
