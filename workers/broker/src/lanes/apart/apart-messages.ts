import type { LaneOutcome, LaneTask, WriterOptions } from '@onewriter/writer';

/* Messages between the broker and its process for jobs that may end their process. */

/** The one argument of the process, as JSON. */
export type ApartSettings = Omit<WriterOptions, 'progress'>;

/** One at a time is at work; the others wait in the process, in this order. */
export interface ToApartProcess {
  readonly id: number;
  readonly task: LaneTask;
}

export type FromApartProcess =
  /** It can take tasks. */
  | { readonly type: 'ready'; readonly bytes: number }
  /** Sent while it is at work. */
  | { readonly type: 'position'; readonly cells: readonly number[]; readonly bytes: number }
  | { readonly type: 'outcome'; readonly id: number; readonly outcome: LaneOutcome; readonly bytes: number }
  /** Its thread ended before the task was done, and was replaced. */
  | { readonly type: 'fault'; readonly id: number; readonly message: string; readonly bytes: number };
