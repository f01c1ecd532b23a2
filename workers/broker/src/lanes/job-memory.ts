import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { Turns } from './turns.ts';

/*
 * Memory for the jobs of all tenants. A session asks before it fetches jobs, and releases the memory when they are done:
 *
 *   request ──some is free──▶ Grant ──jobs arrived──▶ shrunk to their cost ──each is done──▶ released
 *      └── none ──▶ waits for its turn ─────┘
 *
 * Half is for fetches of small jobs and half for single large ones, so that neither keeps the other waiting. A fetch of small
 * jobs gets an eighth of the free memory, and at least a share that fits hundreds of times: many tenants have some at a time. A
 * job that is larger than its whole half is granted when nothing else is.
 */

/** How often a job's data is in memory at the same time: here, on its way to the thread, there, and parsed. */
const COPIES = 4;
/** Cost of a job beside its data. */
const JOB_BYTES = 1_024;
/** The least share of a fetch; a job that costs more is a large one. */
export const SHARE_BYTES = 256 * 1_024;
/** A fetch gets at most one of this many parts of the free memory. */
const PARTS_OF_FREE = 8;
/** One of this many parts of the process's memory is for jobs; the rest is for their garbage, for files and for answers. */
const PART_OF_PROCESS = 4;
const MEGABYTE = 1_024 * 1_024;
const MIN_BYTES = 16 * MEGABYTE;
/** The largest job in two bytes a character, parsed, and its results. */
const MIN_THREAD_HEAP_MB = 64;
/** A thread that wants more is ended, and its task with it; the process keeps running. */
const MAX_THREAD_HEAP_MB = 1_024;

/**
 * Cost of a held job. V8 keeps a string in one byte a character where each is below 256, else in two. Whether one of 7 MB has such
 * a character takes a search 4 to 127 ms, in which no tenant's jobs move: one that is not all ASCII counts as if it had.
 * @param bytes of it, in UTF-8
 */
export function costOfJob(data: string, bytes = Buffer.byteLength(data)): number {
  const width = bytes === data.length ? 1 : 2;
  return JOB_BYTES + COPIES * width * data.length;
}

/** Highest cost of jobs. @param bytes of their data in Redis, in UTF-8 */
export function maxCostOfJobs(jobs: number, bytes: number): number {
  return jobs * JOB_BYTES + COPIES * 2 * bytes;
}

/** How many bytes of data in Redis certainly fit into `cost`. */
export function bytesThatFit(jobs: number, cost: number): number {
  return Math.max(0, Math.floor((cost - jobs * JOB_BYTES) / (COPIES * 2)));
}

/** Bytes that the process may use: the limit of its heap, or of its container where that is less. */
function availableBytes(): number {
  // Without a limit it returns a number beyond all memory, or 0.
  const container = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(getHeapStatistics().heap_size_limit, container, totalmem());
}

/**
 * The memory for jobs of this process, in bytes: a quarter of the limit of its heap or container.
 * @param configured `ONEWRITER_JOB_MEMORY_BYTES`
 */
export function jobMemoryBytes(configured: number | undefined): number {
  return configured ?? Math.max(MIN_BYTES, Math.floor(availableBytes() / PART_OF_PROCESS));
}

/**
 * The heap limit of each writer thread, in MB. V8 collects nothing before half of it is used, so the limit also decides how much
 * garbage a thread keeps.
 */
export function threadHeapMb(): number {
  const part = Math.floor(availableBytes() / PART_OF_PROCESS / MEGABYTE);
  return Math.min(Math.max(part, MIN_THREAD_HEAP_MB), MAX_THREAD_HEAP_MB);
}

/** A client that waits for memory. */
export interface MemoryWaiter {
  /** See Turns: when it may begin to overtake others; undefined: it stands in line. */
  readonly overtakesAt: number | undefined;
  /** Receives the grant, and releases what it does not need. Called outside the waiter's own calls. */
  onMemory(grant: Grant): void;
}

interface Pool {
  readonly limit: number;
  used: number;
  readonly waiting: Turns<MemoryWaiter>;
  /** The waiter whose turn it is; it waits until there is enough for it. */
  next: MemoryWaiter | undefined;
}

interface Wish {
  readonly pool: Pool;
  readonly minimum: number;
  readonly desired: number;
}

/** Granted memory: first of a fetch, then of the jobs that were fetched. */
export class Grant {
  readonly #give: (bytes: number) => void;
  #bytes: number;

  constructor(bytes: number, give: (bytes: number) => void) {
    this.#bytes = bytes;
    this.#give = give;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Releases all but `bytes`. */
  shrinkTo(bytes: number): void {
    this.release(this.#bytes - bytes);
  }

  /** Releases some; default: all. @throws Error where it was released before, or never granted */
  release(bytes = this.#bytes): void {
    if (bytes < 0 || bytes > this.#bytes) {
      throw new Error(`${bytes} bytes of memory are released, but only ${this.#bytes} were granted.`);
    }
    this.#bytes -= bytes;
    if (bytes > 0) this.#give(bytes);
  }
}

/** The memory for jobs, and the waiters for it. */
export class JobMemory {
  readonly #small: Pool;
  readonly #large: Pool;
  readonly #wishes = new Map<MemoryWaiter, Wish>();
  #toBeServed = false;
  #fewer: (() => void)[] = [];

  /** @param limitBytes of all held jobs */
  constructor(limitBytes: number) {
    const limit = Math.max(Math.floor(limitBytes / 2), SHARE_BYTES);
    this.#small = { limit, used: 0, waiting: new Turns(), next: undefined };
    this.#large = { limit, used: 0, waiting: new Turns(), next: undefined };
  }

  /** Granted now, in bytes. */
  get used(): number {
    return this.#small.used + this.#large.used;
  }

  get limit(): number {
    return this.#small.limit + this.#large.limit;
  }

  /** Waiters. */
  get waiting(): number {
    return this.#wishes.size;
  }

  /** Resolves when fewer than `count` wait. */
  async untilFewerWait(count: number): Promise<void> {
    while (this.#wishes.size >= count) await new Promise<void>(resolve => this.#fewer.push(resolve));
  }

  /**
   * Asks for memory. If none is free the waiter gets it later ({@link MemoryWaiter.onMemory}); one that already waits keeps its
   * place.
   * @param minimum bytes it needs @param desired bytes it could use
   */
  request(waiter: MemoryWaiter, minimum: number, desired: number): Grant | undefined {
    const wish = this.#wish(minimum, desired);
    const before = this.#wishes.get(waiter);
    if (before?.pool === wish.pool) {
      this.#wishes.set(waiter, wish);
      this.#serveSoon();
      return undefined;
    }
    this.cancel(waiter);
    const grant = this.#grantInTurn(wish);
    if (grant !== undefined) return grant;
    this.#wishes.set(waiter, wish);
    const { overtakesAt } = waiter;
    wish.pool.waiting.add(waiter, { overtakesAt });
    return undefined;
  }

  /** As {@link request}, but does not wait. */
  requestNow(minimum: number, desired: number): Grant | undefined {
    return this.#grantInTurn(this.#wish(minimum, desired));
  }

  /** Removes the waiter. Idempotent. */
  cancel(waiter: MemoryWaiter): void {
    const wish = this.#wishes.get(waiter);
    if (wish === undefined) return;
    this.#wishes.delete(waiter);
    wish.pool.waiting.delete(waiter);
    if (wish.pool.next === waiter) wish.pool.next = undefined;
    this.#serveSoon();
  }

  #wish(minimum: number, desired: number): Wish {
    const pool = minimum > SHARE_BYTES ? this.#large : this.#small;
    return { pool, minimum, desired: Math.max(minimum, desired) };
  }

  /** Waiters come first. */
  #grantInTurn(wish: Wish): Grant | undefined {
    const { next, waiting } = wish.pool;
    return next === undefined && waiting.size === 0 ? this.#grant(wish) : undefined;
  }

  #grant({ pool, minimum, desired }: Wish): Grant | undefined {
    const free = pool.limit - pool.used;
    if (minimum > free && pool.used > 0) return undefined;
    const share = Math.max(minimum, Math.min(desired, Math.floor(free / PARTS_OF_FREE)));
    pool.used += share;
    return new Grant(share, bytes => {
      pool.used -= bytes;
      this.#serveSoon();
    });
  }

  /** In a microtask: the code that releases memory may be in the middle of a change. */
  #serveSoon(): void {
    if (this.#toBeServed || (this.#wishes.size === 0 && this.#fewer.length === 0)) return;
    this.#toBeServed = true;
    queueMicrotask(() => {
      this.#toBeServed = false;
      this.#serve(this.#small);
      this.#serve(this.#large);
      for (const resolve of this.#fewer.splice(0)) resolve();
    });
  }

  #serve(pool: Pool): void {
    for (;;) {
      pool.next ??= pool.waiting.next(performance.now());
      if (pool.next === undefined) return;
      const waiter = pool.next;
      const grant = this.#grant(this.#wishes.get(waiter)!);
      if (grant === undefined) return;
      pool.next = undefined;
      this.#wishes.delete(waiter);
      waiter.onMemory(grant);
    }
  }
}
