import { backOffMs, isOnewriterError } from '@onewriter/protocol';
import type { FullSegment } from './pack-item.ts';

const PAUSES = Object.freeze({ firstMs: 5_000, maxMs: 10 * 60_000 });

/**
 * Reads a whole file in a process of low priority, and stores it where it is large.
 * @param pos number of the segment
 * @throws OnewriterError TENANT_NOT_FOUND where there is no such file
 */
export type ReadFull = (tenant: string, pos: number, signal: AbortSignal) => Promise<FullSegment>;

/** A tenant that needs a full segment. */
export interface FullTarget {
  readonly tenant: string;
  readonly needsReading: boolean;
  beginReading(): number;
  endReading(full: FullSegment): boolean;
  failReading(isGone: boolean): void;
}

export interface FullQueueOptions<T extends FullTarget> {
  readonly readFull: ReadFull;
  /** Size of a tenant's file in bytes: small ones come first. */
  readonly sizeOf: (tenant: string) => number;
  /** A file begins to be read. */
  readonly onBegin: () => void;
  readonly onDone: (target: T) => void;
  readonly onError: (tenant: string, error: unknown) => void;
  readonly nowMs: () => number;
  readonly signal: AbortSignal;
}

interface Waiting<T> {
  readonly target: T;
  readonly bytes: number;
  failures: number;
  notBeforeMs: number;
}

/** Tenants whose file has to be read whole, one after the other. */
export class FullQueue<T extends FullTarget> {
  readonly #options: FullQueueOptions<T>;
  readonly #waiting = new Map<string, Waiting<T>>();
  #reading: string | undefined;

  constructor(options: FullQueueOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.size;
  }

  get isReading(): boolean {
    return this.#reading !== undefined;
  }

  /** Idempotent. */
  add(target: T): void {
    const { tenant } = target;
    if (this.#waiting.has(tenant) || this.#reading === tenant) return;
    const bytes = this.#options.sizeOf(tenant);
    this.#waiting.set(tenant, { target, bytes, failures: 0, notBeforeMs: 0 });
  }

  /** Begins to read the smallest, if none is being read. Called again and again; a file whose turn has not come waits. */
  advance(): void {
    const { nowMs, signal } = this.#options;
    if (this.#reading !== undefined || signal.aborted) return;
    let next: Waiting<T> | undefined;
    for (const each of this.#waiting.values()) {
      // Meanwhile it may have begun again out of its log, or was deleted.
      if (!each.target.needsReading) this.#waiting.delete(each.target.tenant);
      else if (each.notBeforeMs <= nowMs() && (next === undefined || each.bytes < next.bytes)) next = each;
    }
    if (next === undefined) return;
    this.#waiting.delete(next.target.tenant);
    this.#reading = next.target.tenant;
    void this.#read(next);
  }

  async #read(waiting: Waiting<T>): Promise<void> {
    const { readFull, onBegin, onDone, onError, nowMs, signal } = this.#options;
    const { target } = waiting;
    const { tenant } = target;
    let isRead = false;
    onBegin();
    try {
      const full = await readFull(tenant, target.beginReading(), signal);
      target.endReading(full);
      isRead = true;
    } catch (error) {
      const isGone = isOnewriterError(error, 'TENANT_NOT_FOUND');
      target.failReading(isGone);
      if (!isGone && !signal.aborted) onError(tenant, error);
    }
    this.#reading = undefined;
    if (signal.aborted) return;
    if (!isRead && target.needsReading) {
      const failures = waiting.failures + 1;
      const notBeforeMs = nowMs() + backOffMs(failures, PAUSES);
      this.#waiting.set(tenant, { ...waiting, failures, notBeforeMs });
    }
    onDone(target);
    this.advance();
  }
}
