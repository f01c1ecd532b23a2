/*
 * The history of one tenant's life: what its callers did and saw, and which files it had one after the other. All of it is
 * noted by one process with one clock that counts events, so that of any two calls it is known whether one ended before
 * the other began.
 */

/** Registers and accounts of a tenant; its lists have names. */
export const REGISTERS = 3;
export const ACCOUNTS = 4;
export const INITIAL_BALANCE = 1_000;
/** What a register holds that nothing was written to. */
export const UNWRITTEN = '';

/** The whole content of a tenant, seen by one statement. */
export interface Whole {
  /** Which file it is of: the creation that it goes back to, and the last restore that its ledger has. */
  readonly incarnation: string;
  /** Number of the newest commit; null where the statement cannot know it, as in the middle of a transaction. */
  readonly seq: number | null;
  /** The elements of all lists as {@link rowText}, in the order in which they were appended. */
  readonly log: readonly string[];
  readonly registers: readonly string[];
  readonly balances: readonly number[];
}

/** What a read saw. */
export type Seen =
  | ({ readonly kind: 'whole' } & Whole)
  | { readonly kind: 'list'; readonly list: string; readonly values: readonly string[] }
  | { readonly kind: 'register'; readonly register: number; readonly value: string }
  | { readonly kind: 'balances'; readonly balances: readonly number[] };

/** What a write does; all of it, or nothing. */
export interface Change {
  /** At least one; each value is unique in the history. */
  readonly appends: readonly { readonly list: string; readonly value: string }[];
  readonly sets?: readonly { readonly register: number; readonly value: string }[] | undefined;
  readonly transfer?: { readonly from: number; readonly to: number; readonly amount: number } | undefined;
}

interface Interval {
  readonly tenant: string;
  /** Ticks of the history's clock; each is used once. */
  readonly invoked: number;
  readonly completed: number;
}

/** A write, and the reads of its transaction. */
export interface WriteCall extends Interval {
  readonly kind: 'write';
  readonly id: number;
  readonly caller: string;
  readonly door: string;
  readonly change: Change;
  /** Whether it belongs to the writes of its caller that commit in the order of issue (G3). */
  readonly inOrder: boolean;
  /** `refused`: a compare-and-set that found another value, so it changed nothing. */
  readonly outcome: 'committed' | 'refused' | 'failed' | 'unknown';
  /** Why it failed, and whether the answer says that it may be tried again. */
  readonly code?: string | undefined;
  readonly retryable?: boolean | undefined;
  readonly commitSeq?: number | undefined;
  /** What a compare-and-set expected to find. */
  readonly expected?: { readonly register: number; readonly value: string } | undefined;
  /** What its transaction read before and after the change. */
  readonly before?: Whole | undefined;
  readonly after?: Whole | undefined;
}

/** A read that was answered. */
export interface ReadCall extends Interval {
  readonly kind: 'read';
  readonly door: string;
  readonly seen: Seen;
}

/** A read that failed for a reason that is not retryable. */
export interface FailedReadCall extends Interval {
  readonly kind: 'failed-read';
  readonly door: string;
  readonly code: string;
}

/** What the receipt of a write said, where it said something. */
export interface ReceiptCall extends Interval {
  readonly kind: 'receipt';
  /** Id of the write. */
  readonly of: number;
  readonly state: 'committed' | 'failed' | 'unknown';
  readonly commitSeq?: number | undefined;
}

/** The tenant got a file: it was created, or a backup was restored where there was none, or in the place of another. */
export interface LifeCall extends Interval {
  readonly kind: 'life';
  readonly what: 'create' | 'restore' | 'replace';
  readonly incarnation: string;
  /** What the backup holds. */
  readonly base?: Whole | undefined;
  /** The number that the restore itself has. */
  readonly commitSeq?: number | undefined;
}

/** A stream of events was begun behind an event of before. */
export interface PositionCall extends Interval {
  readonly kind: 'position';
  /** The file that the id of the last event is of, and the one that is there when the stream begins. */
  readonly of: string;
  readonly at: string;
  /** Type of the first event. */
  readonly event: string;
}

/** A span in which the tenant may have had no file, or one without tables, whatever the outcome. */
export interface AbsenceCall extends Interval {
  readonly kind: 'absence';
}

/** The last state of a file: of one that was put aside, or of the one that is there at the end. */
export interface KeptCall extends Interval {
  readonly kind: 'kept';
  readonly state: Whole;
}

export type Call =
  | WriteCall
  | ReadCall
  | FailedReadCall
  | ReceiptCall
  | LifeCall
  | PositionCall
  | AbsenceCall
  | KeptCall;

/** An element of a list as {@link Whole.log} has it. @param place how many elements the list had before */
export function rowText(list: string, place: number, value: string): string {
  return `${list} ${place} ${value}`;
}

/** The clock, and what was noted. */
export class History {
  readonly calls: Call[] = [];
  #ticks = 0;

  tick(): number {
    return ++this.#ticks;
  }

  add(call: Call): void {
    this.calls.push(call);
  }
}
