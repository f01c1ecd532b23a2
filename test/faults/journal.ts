import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Operation } from './operation.ts';

/*
 * A client's journal: what it issued, noted before it is sent, and the answers it got, noted before anything else
 * happens. Each entry is one line of JSON, written with one system call: a client that is killed has it in the kernel.
 *
 * Times are milliseconds of one clock for all processes of the machine that no clock jump moves.
 */

/** One line of a journal. */
export type JournalEntry =
  /** The first line. */
  | {
      readonly k: 'client';
      readonly client: string;
      /** Writes of a client keep their order only where they go through one SDK. */
      readonly via: Way;
      readonly at: number;
    }
  /** A write is about to be sent; `n` counts the client's writes from 1. */
  | {
      readonly k: 'issue';
      readonly n: number;
      readonly tenant: string;
      readonly op: Operation;
      readonly timeoutMs: number;
      readonly at: number;
    }
  /** The same write, with the same idempotency key, is about to be sent again. */
  | { readonly k: 'again'; readonly n: number; readonly timeoutMs: number; readonly at: number }
  /** The queue has accepted a write sent with enqueue(). */
  | { readonly k: 'accepted'; readonly n: number; readonly receiptId: string; readonly at: number }
  /** The caller's answer. After its deadline, with the time that the machine took from the client since then. */
  | ({
      readonly k: 'answered';
      readonly n: number;
      readonly at: number;
      readonly starvedMs?: number | undefined;
    } & GivenAnswer)
  /** A later answer of the write's receipt. */
  | {
      readonly k: 'receipt';
      readonly n: number;
      readonly state: 'committed' | 'failed' | 'pending' | 'unknown';
      readonly code?: string | undefined;
      readonly commitSeq?: number | undefined;
      readonly at: number;
    }
  /** A read of a write that had been reported committed. */
  | { readonly k: 'read'; readonly n: number; readonly seen: boolean; readonly at: number }
  /** The last line of a client that ended in order: every write has been answered. */
  | { readonly k: 'end'; readonly at: number };

/** How a client writes. */
export type Way = 'sdk' | 'gateway';

/** A caller's answer to its write. */
export type GivenAnswer =
  | {
      readonly outcome: 'committed';
      readonly commitSeq?: number | undefined;
      /** lastInsertRowid, where the write is one insert. */
      readonly rowid?: number | undefined;
    }
  | {
      readonly outcome: 'failed';
      readonly code: string;
      readonly retryable: boolean;
      readonly retryAfterMs?: number | undefined;
    }
  | {
      readonly outcome: 'unknown';
      readonly code: string;
      readonly receiptId?: string | undefined;
    };

/** Entries of one kind. */
export type EntryOf<Kind extends JournalEntry['k']> = Extract<JournalEntry, { k: Kind }>;

/** Milliseconds of the system's monotonic clock: the same in every process, and no clock jump moves it. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 10_000n) / 100;
}

/** Writes a journal. */
export class JournalWriter {
  readonly #descriptor: number;
  /** Time that its writes have taken. */
  spentMs = 0;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#descriptor = openSync(path, 'ax');
  }

  /** Returns when the kernel has the entry. */
  write(entry: JournalEntry): void {
    const startedAt = performance.now();
    writeSync(this.#descriptor, `${JSON.stringify(entry)}\n`);
    this.spentMs += performance.now() - startedAt;
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** The entries of a journal; a last line that was cut off by a kill is left out. */
export function parseJournal(text: string): JournalEntry[] {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as JournalEntry);
}

/** All journals of a folder. */
export function readJournals(folder: string): JournalEntry[][] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.jsonl'))
    .sort()
    .map(name => parseJournal(readFileSync(join(folder, name), 'utf8')));
}
