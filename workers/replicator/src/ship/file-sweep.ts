import type { KnownCommit } from './piece-items.ts';

/** A tenant's two looks are at least so far apart: what its writer captures meanwhile comes. */
const ROUND_MS = 30_000;
/** A call looks at so many files, or for so long: the thread has other work. */
const LOOKS = 200;
const LOOKS_MS = 20;

/** A tenant whose file is looked at. */
export interface SweptLine {
  readonly tenant: string;
  /** Undefined where it is being mended already, or has no file. */
  readonly settled: KnownCommit | undefined;
  /** Set for a branch without pages of its own. */
  readonly base?: object | undefined;
  mayLack(): void;
  renew(): void;
}

interface SweptFiles {
  /** 0: there is none. */
  sizeOf(tenant: string): number;
  isAsKnown(tenant: string, known: KnownCommit): boolean;
}

/**
 * Finds tenants whose files have more than what came from their writers, and that no writer has open: a broker was killed before it
 * captured their last commits, a thread died, or the replicator was away while they were closed. Each waits for its next write otherwise.
 */
export class FileSweep<T extends SweptLine> {
  readonly #files: SweptFiles;
  readonly #onLack: (line: T) => void;
  readonly #nowMs: () => number;
  #round: Iterator<T> | undefined;
  #roundMs = Number.NEGATIVE_INFINITY;
  /** Tenants whose file was another at the last look, with the number of what was known. */
  readonly #suspects = new Map<string, number>();
  /** Those that were read for it: what the same look finds again is no lack. */
  readonly #read = new Map<string, number>();

  /** @param onLack the tenant has to be read */
  constructor(files: SweptFiles, onLack: (line: T) => void, nowMs: () => number) {
    this.#files = files;
    this.#onLack = onLack;
    this.#nowMs = nowMs;
  }

  /** Called again and again: looks at the next ones. */
  look(lines: ReadonlyMap<string, T>): void {
    if (this.#round === undefined) {
      if (this.#nowMs() - this.#roundMs < ROUND_MS) return;
      this.#roundMs = this.#nowMs();
      this.#round = lines.values();
    }
    const until = performance.now() + LOOKS_MS;
    for (let looks = 0; looks < LOOKS && performance.now() < until; looks++) {
      const next = this.#round.next();
      if (next.done) {
        this.#round = undefined;
        return;
      }
      this.#lookAt(next.value);
    }
  }

  #lookAt(line: T): void {
    const { tenant, settled, base } = line;
    // One that is awake need not be copied in the store, and what it commits shows nowhere else after a kill.
    if (base !== undefined && this.#files.sizeOf(tenant) > 0) {
      line.renew();
      this.#onLack(line);
      return;
    }
    const before = this.#suspects.get(tenant);
    this.#suspects.delete(tenant);
    if (settled === undefined || this.#files.isAsKnown(tenant, settled)) return;
    const { pos } = settled;
    if (this.#read.get(tenant) === pos) return;
    if (before !== pos) {
      this.#suspects.set(tenant, pos);
      return;
    }
    // The number that the segment will have.
    this.#read.set(tenant, pos + 1);
    line.mayLack();
    this.#onLack(line);
  }
}
