import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '@onewriter/runtime';
import { monotonicMs, type RetentionClock } from '@onewriter/writer';

/*
 * The clock by which the rows of ledgers and keys age (ADR 0027): `<dataDir>/clock` counts the time in which brokers led. It
 * advances with the monotonic clock of the leading process, and stands still while none leads. So no wall clock can make a row
 * old. Each new count has an id: if the file is lost, rows that the new count did not see are not treated as old.
 */

/** How much of the count is lost when a leader dies, at most. */
export const SAVE_CLOCK_EVERY_MS = 10_000;

interface ClockFile {
  readonly id: string;
  readonly ms: number;
}

/** `<dataDir>/clock` */
export function clockFile(dataDir: string): string {
  return join(dataDir, 'clock');
}

/** The clock of a data directory, while this process leads. */
export class DataDirClock implements RetentionClock {
  readonly id: string;
  readonly offsetMs: number;
  readonly #path: string;
  readonly #log: Logger;
  #warned = false;

  constructor(dataDir: string, log: Logger) {
    this.#path = clockFile(dataDir);
    this.#log = log;
    const { id, ms } = readClock(this.#path) ?? { id: randomUUID(), ms: 0 };
    this.id = id;
    this.offsetMs = ms - monotonicMs();
    this.save();
  }

  /** Notes the count. Not flushed: a loss after a power failure only keeps rows longer. */
  save(): void {
    const temporary = `${this.#path}.tmp`;
    try {
      mkdirSync(join(this.#path, '..'), { recursive: true });
      writeFileSync(
        temporary,
        `${JSON.stringify({ id: this.id, ms: monotonicMs() + this.offsetMs } satisfies ClockFile)}\n`,
      );
      renameSync(temporary, this.#path);
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) {
        this.#log.warn(
          { err: error },
          'The clock of the data directory could not be noted: old rows are kept longer',
        );
      }
      this.#warned = true;
    }
  }
}

/** Undefined if the file is missing or not a clock: a new count begins, and rows are kept longer. */
function readClock(path: string): ClockFile | undefined {
  try {
    const { id, ms } = JSON.parse(readFileSync(path, 'utf8')) as Partial<ClockFile>;
    return typeof id === 'string' && id !== '' && Number.isSafeInteger(ms) && ms! >= 0
      ? { id, ms: ms! }
      : undefined;
  } catch {
    return undefined;
  }
}
