import { STATUS_TOP, type StatusTenant } from '@onewriter/protocol';
import { pickLargest } from './pick-largest.ts';

/*
 * Load by tenant, for thousands of tenants. A batch costs some additions to plain numbers of its tenant, whatever the number of
 * its writes, and no sorting, timer or allocation. Once a second the tenants with recent work are walked once, which picks the
 * ten largest of each kind. A tenant without work for two slots leaves the walk.
 */

/** Values of a tenant's session at the time the figures are read. */
export interface LoadSource {
  readonly tenant: string;
  /** Jobs that wait in Redis, as last reported. */
  readonly waiting: number;
  /** Jobs that the broker has and that are not committed. */
  readonly held: number;
  /** When the oldest of those was enqueued, ms by the client's clock; undefined: there is none, or its id does not contain it. */
  readonly oldestAt: number | undefined;
  readonly asleep: boolean;
}

/** Figures of one slot. */
interface Slot {
  batches: number;
  writes: number;
  failures: number;
  busyMs: number;
  maxBatchMs: number;
  maxDelayMs: number;
}

function emptySlot(): Slot {
  return { batches: 0, writes: 0, failures: 0, busyMs: 0, maxBatchMs: 0, maxDelayMs: 0 };
}

/** One tenant's load in the current slot and in the previous one. */
export class TenantLoad {
  readonly source: LoadSource;
  walBytes = 0;
  /** Whether the walk includes it. */
  listed = false;
  #now = emptySlot();
  #before = emptySlot();

  constructor(source: LoadSource) {
    this.source = source;
  }

  /** A batch was applied. @param delayMs of its oldest job, from enqueue to commit. */
  add(writes: number, failures: number, batchMs: number, delayMs: number, walBytes: number): void {
    const slot = this.#now;
    slot.batches++;
    slot.writes += writes;
    slot.failures += failures;
    slot.busyMs += batchMs;
    if (batchMs > slot.maxBatchMs) slot.maxBatchMs = batchMs;
    if (delayMs > slot.maxDelayMs) slot.maxDelayMs = delayMs;
    this.walBytes = walBytes;
  }

  /** Begins a new slot. @returns whether there was any work in the last two. */
  rotate(): boolean {
    const worked = this.#now.batches > 0 || this.#before.batches > 0;
    const recycled = this.#before;
    this.#before = this.#now;
    this.#now = Object.assign(recycled, EMPTY);
    return worked;
  }

  get writes(): number {
    return this.#now.writes + this.#before.writes;
  }

  /** Mean duration of a batch; 0 where there was none. */
  get batchMs(): number {
    const batches = this.#now.batches + this.#before.batches;
    return batches === 0 ? 0 : (this.#now.busyMs + this.#before.busyMs) / batches;
  }

  /** @param nowMs by the clients' clock. */
  delayMs(nowMs: number): number {
    const { oldestAt } = this.source;
    const past = Math.max(this.#now.maxDelayMs, this.#before.maxDelayMs);
    return oldestAt === undefined ? past : Math.max(past, nowMs - oldestAt);
  }

  get queuedJobs(): number {
    return this.source.waiting + this.source.held;
  }

  /** @param windowMs since the slot before began. @param nowMs by the clients' clock. */
  read(windowMs: number, nowMs: number): StatusTenant {
    const [now, before] = [this.#now, this.#before];
    const seconds = windowMs / 1_000;
    return {
      tenant: this.source.tenant,
      writesPerSecond: round(this.writes / seconds),
      failedPerSecond: round((now.failures + before.failures) / seconds),
      batchesPerSecond: round((now.batches + before.batches) / seconds),
      busyShare: round((now.busyMs + before.busyMs) / windowMs),
      meanBatchMs: round(this.batchMs),
      maxBatchMs: round(Math.max(now.maxBatchMs, before.maxBatchMs)),
      maxDelayMs: Math.round(this.delayMs(nowMs)),
      queuedJobs: this.queuedJobs,
      walBytes: this.walBytes,
    };
  }
}

const EMPTY: Readonly<Slot> = Object.freeze(emptySlot());
const SLOT_MS = 10_000;

/** Figures of the tenants at work. */
export interface TenantFigures {
  readonly windowMs: number;
  readonly active: number;
  readonly waitingJobs: number;
  readonly heldJobs: number;
  readonly busiest: readonly StatusTenant[];
  readonly slowest: readonly StatusTenant[];
  readonly delayed: readonly StatusTenant[];
  readonly deepest: readonly StatusTenant[];
  readonly largestWals: readonly StatusTenant[];
  /** Sum of all tenants at work. */
  readonly writesPerSecond: number;
}

/** The loads of all tenants with recent work. */
export class TenantLoads {
  readonly #listed = new Set<TenantLoad>();
  #slotBeganAt: number;
  #windowBeganAt: number;

  /** @param now on the monotonic clock, ms. */
  constructor(now: number = performance.now()) {
    this.#slotBeganAt = now;
    this.#windowBeganAt = now;
  }

  /** The tenant has work. */
  list(load: TenantLoad): void {
    load.listed = true;
    this.#listed.add(load);
  }

  /** Reads the figures, and begins a new slot when one is due. @param now monotonic. @param wallNow for delays. */
  read(now: number = performance.now(), wallNow: number = Date.now()): TenantFigures {
    const windowMs = Math.max(now - this.#windowBeganAt, 1);
    let waitingJobs = 0;
    let heldJobs = 0;
    let writes = 0;
    for (const load of this.#listed) {
      waitingJobs += load.source.waiting;
      heldJobs += load.source.held;
      writes += load.writes;
    }
    const largest = (sizeOf: (load: TenantLoad) => number) =>
      pickLargest(this.#listed, STATUS_TOP, sizeOf).map(load => load.read(windowMs, wallNow));
    const figures = {
      windowMs: Math.round(windowMs),
      active: this.#listed.size,
      waitingJobs,
      heldJobs,
      busiest: largest(load => load.writes),
      slowest: largest(load => load.batchMs),
      delayed: largest(load => load.delayMs(wallNow)),
      deepest: largest(load => load.queuedJobs),
      largestWals: largest(load => load.walBytes),
      writesPerSecond: round((writes * 1_000) / windowMs),
    };
    if (now - this.#slotBeganAt >= SLOT_MS) this.#rotate(now);
    return figures;
  }

  #rotate(now: number): void {
    this.#windowBeganAt = this.#slotBeganAt;
    this.#slotBeganAt = now;
    for (const load of this.#listed) {
      if (load.rotate() || !load.source.asleep) continue;
      load.listed = false;
      this.#listed.delete(load);
    }
  }
}

/** Three digits are enough for people. */
function round(value: number): number {
  return value === 0 ? 0 : Number(value.toPrecision(3));
}
