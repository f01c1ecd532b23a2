import type { CaptureMessage, LaneOutcome, LaneTask, WriterOptions } from '@onewriter/writer';

/* Messages between the broker and its process for jobs that may end their process. */

/** The one argument of the process, as JSON. */
export type ApartSettings = Omit<WriterOptions, 'progress'>;

/** One at a time is at work; the others wait in the process, in this order. */
export interface ApartTask {
  readonly id: number;
  readonly task: LaneTask;
}

/** The replicator asks for new commits. */
export interface ApartCapture {
  readonly capture: true;
}

export type ToApartProcess = ApartTask | ApartCapture;

export type FromApartProcess =
  /** It can take tasks. */
  | { readonly type: 'ready'; readonly bytes: number }
  /** Sent while it is at work. */
  | { readonly type: 'position'; readonly cells: readonly number[]; readonly bytes: number }
  | { readonly type: 'outcome'; readonly id: number; readonly outcome: LaneOutcome; readonly bytes: number }
  /** For the replicator. Its parent numbers it, and counts its room. Sent before the outcome of the task that it was sent in. */
  | { readonly type: 'captured'; readonly message: CaptureMessage }
  /** Its thread ended before the task was done, and was replaced. */
  | { readonly type: 'fault'; readonly id: number; readonly message: string; readonly bytes: number };
