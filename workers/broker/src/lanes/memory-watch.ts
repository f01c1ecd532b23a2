import { totalmem } from 'node:os';
import { isOutOfDescriptors } from '@onewriter/protocol';
import type { LaneWork } from './lane.ts';

/*
 * Watches how the statements in the threads change the memory of this process. better-sqlite3 has no sqlite3_limit(), and the
 * heap limits of SQLite count nothing, because it is built with SQLITE_DEFAULT_MEMSTATUS=0: a statement can use all memory of
 * the machine. So a statement during which the process grows by more than the limit is stopped, with its process.
 *
 *   grown by the limit, minus what others may have used meanwhile             'one': it was this statement
 *   … but another statement ran while the process grew considerably          'some': any of them may be to blame
 *   grown by twice the limit                                                  'some'
 *
 * 'some' are not refused: each runs again, alone in the process, which shows which one it was.
 */

const MEGABYTE = 1_024 * 1_024;
const PART_OF_MACHINE = 4;
const MIN_LIMIT_BYTES = 64 * MEGABYTE;
const MAX_LIMIT_BYTES = 256 * MEGABYTE;
const LOOK_EVERY_MS = 20;
/** A statement during which the process grew by this part of the limit may have had a share in it. */
const PART_TO_SUSPECT = 4;
/** Grown by this many limits, a statement has to be stopped, whatever is deducted. */
const LIMITS_OF_ALL = 2;

/** A lane, as far as the watch needs it. */
export interface WatchedLane {
  readonly work: LaneWork | undefined;
  readonly position: { readonly job: number; readonly op: number };
  /** Bytes that the batches it began so far may have left in memory. */
  readonly begunBytes: number;
}

/** A write during which the process grew. */
export interface CostlyWrite {
  readonly work: LaneWork;
  readonly jobId: string;
  /** Index of the write in its job. */
  readonly op: number;
  readonly grownBytes: number;
}

/** The result of a look; see above. */
export type MemoryFinding =
  | { readonly kind: 'one'; readonly write: CostlyWrite }
  | { readonly kind: 'some'; readonly writes: readonly CostlyWrite[] };

interface Seen {
  readonly work: LaneWork;
  readonly job: number;
  readonly op: number;
  /** Memory of the process before it began. */
  readonly baseBytes: number;
  /** Bytes begun by the other lanes at that time. */
  readonly othersBytes: number;
  shared: boolean;
}

/** How much the process may grow during one write. @param configured `ONEWRITER_WRITE_MEMORY_BYTES` */
export function writeMemoryBytes(configured: number | undefined): number {
  if (configured !== undefined) return configured;
  const available = Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem());
  const part = Math.floor(available / PART_OF_MACHINE);
  return Math.min(Math.max(part, MIN_LIMIT_BYTES), MAX_LIMIT_BYTES);
}

/** Memory of this process without the heap of the main thread, which no statement fills. */
export function readStatementBytes(): number {
  const { rss, heapTotal, external } = process.memoryUsage();
  return rss - heapTotal - external;
}

/** Reports the first finding; the process has to end then. */
export class MemoryWatch {
  readonly limitBytes: number;
  readonly #lanes: () => readonly WatchedLane[];
  readonly #onFound: (finding: MemoryFinding) => void;
  readonly #read: () => number;
  readonly #seen = new Map<WatchedLane, Seen>();
  readonly #timer: NodeJS.Timeout | undefined;
  /** Memory at the last look. */
  #bytes: number;
  #found = false;

  /** @param read memory of the process, in bytes. @param everyMs 0: only {@link look} looks */
  constructor(
    lanes: () => readonly WatchedLane[],
    limitBytes: number,
    onFound: (finding: MemoryFinding) => void,
    read = readStatementBytes,
    everyMs = LOOK_EVERY_MS,
  ) {
    this.limitBytes = limitBytes;
    this.#lanes = lanes;
    this.#onFound = onFound;
    this.#bytes = read();
    this.#read = () => {
      try {
        return read();
      } catch (error) {
        // Node opens a file to read it. The next look can read again.
        if (isOutOfDescriptors(error)) return this.#bytes;
        throw error;
      }
    };
    this.#timer = everyMs === 0 ? undefined : setInterval(() => this.look(), everyMs);
  }

  /** Idempotent. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** Resolves when the process has grown by this many more limits. */
  async untilOverrun(limits: number, signal: AbortSignal): Promise<void> {
    const most = this.#read() + limits * this.limitBytes;
    await new Promise<void>(resolve => {
      const timer = setInterval(() => {
        if (!signal.aborted && this.#read() < most) return;
        clearInterval(timer);
        resolve();
      }, LOOK_EVERY_MS / 2);
    });
  }

  look(): void {
    const lanes = this.#lanes();
    const before = this.#bytes;
    this.#bytes = this.#read();
    for (const lane of this.#seen.keys()) if (!lanes.includes(lane)) this.#seen.delete(lane);
    for (const lane of lanes) this.#note(lane, before);
    this.#noteShared();
    if (this.#found) return;
    const finding = this.#judge();
    if (finding === undefined) return;
    this.#found = true;
    this.#onFound(finding);
  }

  #note(lane: WatchedLane, before: number): void {
    const { work } = lane;
    if (work === undefined) {
      this.#seen.delete(lane);
      return;
    }
    const { job, op } = lane.position;
    const seen = this.#seen.get(lane);
    if (seen?.work === work && seen.job === job && seen.op === op) return;
    const othersBytes = this.#othersBytes(lane);
    this.#seen.set(lane, { work, job, op, baseBytes: before, othersBytes, shared: false });
  }

  /** If two statements run while the process grows, neither is certainly the cause. */
  #noteShared(): void {
    const grown = this.#suspects();
    if (grown.length > 1) for (const seen of grown) seen.shared = true;
  }

  #suspects(): Seen[] {
    const least = this.limitBytes / PART_TO_SUSPECT;
    return [...this.#seen.values()].filter(({ baseBytes }) => this.#bytes - baseBytes >= least);
  }

  #judge(): MemoryFinding | undefined {
    for (const [lane, seen] of this.#seen) {
      const grown = this.#bytes - seen.baseBytes;
      const own = grown - (this.#othersBytes(lane) - seen.othersBytes);
      const write = toWrite(seen, grown);
      if (write === undefined) continue;
      if (own >= this.limitBytes && !seen.shared) return { kind: 'one', write };
      if (own < this.limitBytes && grown < LIMITS_OF_ALL * this.limitBytes) continue;
      const writes = this.#suspects().flatMap(it => toWrite(it, this.#bytes - it.baseBytes) ?? []);
      return { kind: 'some', writes };
    }
    return undefined;
  }

  #othersBytes(lane: WatchedLane): number {
    return this.#lanes().reduce((sum, other) => sum + (other === lane ? 0 : other.begunBytes), 0);
  }
}

function toWrite({ work, job, op }: Seen, grownBytes: number): CostlyWrite | undefined {
  const jobId = work.task.jobs[job]?.id;
  return jobId === undefined ? undefined : { work, jobId, op, grownBytes };
}
