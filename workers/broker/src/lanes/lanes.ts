import { type BrokerOpenFiles, logsBeside, SPARE_LANES_PER_LANE, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { WriterOptions } from '@onewriter/writer';
import { Lane, type LaneClient } from './lane.ts';
import type { LaneThread } from './lane-thread.ts';
import { WalFlusher } from './wal-flusher.ts';

/** Settings of {@link Lanes}. */
export interface LanesOptions {
  /** Lanes that are always there. */
  readonly threads: number;
  /** Of `runningNote` the beginning: each lane has a file of its own. */
  readonly writer: Omit<WriterOptions, 'progress' | 'runningNote' | 'maxOpenTenants'> & {
    readonly runningNote: string;
  };
  readonly openFiles: BrokerOpenFiles;
  /** Asked before each task: whether this process leads. */
  readonly mayBegin: () => boolean;
  /** Waited for before a tenant runs alone, while others run: what it does may end this process. Default: not at all. */
  readonly beforeAlone?: (() => Promise<void>) | undefined;
  /** Called for a tenant whose files changed, and was closed: it is opened no more until somebody says so. */
  readonly onChanged: (tenant: string, finding: WireError) => void;
  /** Called where the threads of a lane do not stay up. */
  readonly onBroken: (error: Error) => void;
  /** How long a spare lane stays that has nothing to do; default: 30,000. */
  readonly spareIdleMs?: number | undefined;
  /** Threads for the first lanes, started before; default: none. */
  readonly started?: readonly LaneThread[] | undefined;
  readonly log: Logger;
}

/** A batch that takes longer holds its lane up: tenants that wait behind it go elsewhere. */
const HELD_UP_MS = 100;
/**
 * The same while the thread is at files. Where the disk is slow, another thread would wait for it, too, and a tenant that moves
 * is closed and opened, which flushes five times.
 */
const HELD_UP_AT_FILES_MS = 500;
const LOOK_EVERY_MS = 50;
const SPARE_IDLE_MS = 30_000;

/**
 * The lanes: one thread each, tenants bound to them. A tenant stays with its lane, where its connection is open, until
 * it is closed or the lane is held up by another tenant's long statement: then it moves to a lane that is not, and if
 * all are, to a spare one. A spare lane keeps few files open, and its tenants move back when no other lane is held up, one at each
 * look, so that few files are opened at a time. Of a tenant itself one batch is under way at most.
 */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #lanes: Lane[] = [];
  readonly #spareIdleSince = new Map<Lane, number>();
  readonly #alone: LaneClient[] = [];
  /** A tenant may move from a spare lane to one that stays. */
  #mayMoveBack = false;
  /** A tenant runs alone, or waits for the lanes to come to rest. */
  #holding = false;
  readonly #flusher: WalFlusher;
  #nextIndex = 0;
  #retiredFaults = 0;
  #timer: NodeJS.Timeout | undefined;
  #paused = false;
  #idleWaiters: (() => void)[] = [];
  #roomWaiters: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(options: LanesOptions) {
    this.#options = options;
    this.#flusher = new WalFlusher(() => logsBeside(options.openFiles, this.#openTenants));
    for (let count = 0; count < options.threads; count++)
      this.#open(options.openFiles.perLane, options.started?.[count]);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  get all(): readonly Lane[] {
    return this.#lanes;
  }

  /** Times that a thread ended without being told to and was replaced. */
  get faults(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.faults, this.#retiredFaults);
  }

  /** Tenants that the lanes that stay keep open. */
  get maxOpenTenants(): number {
    return this.#options.threads * this.#options.openFiles.perLane;
  }

  /** Tenants whose files are open, or are about to be, at most. */
  get #openTenants(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.openTenants, 0);
  }

  /** Gives a tenant with work its turn. */
  enqueue(client: LaneClient): void {
    this.#moveBack(client);
    const lane = this.#laneOf(client) ?? this.#choose();
    const isNew = !lane.mayHaveOpen(client.tenant);
    lane.enqueue(client);
    // Its descriptors may be those of logs.
    if (isNew) this.#flusher.trim();
  }

  /** Gives a tenant its turn while nothing else runs in this process. */
  enqueueAlone(client: LaneClient): void {
    this.#alone.push(client);
    if (this.#alone.length === 1) void this.#runAlone();
  }

  /** Begins nothing any more. */
  pause(): void {
    this.#paused = true;
    this.#makeRoom();
  }

  /** Begins what waits, where it did not because this process did not lead. */
  pump(): void {
    for (const lane of this.#lanes) lane.pump();
  }

  /** Resolves when no thread works. */
  async idle(): Promise<void> {
    while (this.#lanes.some(lane => lane.busy)) {
      await new Promise<void>(resolve => this.#idleWaiters.push(resolve));
    }
  }

  /** Tenants that wait for their turn. */
  get waiting(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.waiting, 0);
  }

  /** Resolves when fewer than `count` tenants wait, at most 50 ms later, or when the lanes are closed. */
  async untilFewerWait(count: number): Promise<void> {
    if (this.waiting < count || this.#paused) return;
    await new Promise<void>(resolve => this.#roomWaiters.push({ count, resolve }));
  }

  /** Closes the connection of a tenant that has no work. */
  async closeTenant(client: LaneClient): Promise<void> {
    const { lane } = client;
    client.lane = undefined;
    await lane?.closeTenant(client.tenant);
    this.#flusher.trim();
  }

  /** Resolves when no thread has the file of a tenant open, which has no work: also where it was before it moved. */
  async closeFile(tenant: string): Promise<void> {
    await Promise.all(
      this.#lanes.filter(lane => lane.mayHaveOpen(tenant)).map(lane => lane.closeTenant(tenant)),
    );
    this.#flusher.trim();
  }

  /**
   * Closes all connections and ends the threads. Idempotent.
   * @param withinMs after which no further connection is closed; default: all are
   * @returns how many are left; then the process has to be ended by a signal, or its threads would close them as they end
   */
  async close(withinMs?: number): Promise<number> {
    this.pause();
    clearInterval(this.#timer);
    const left = await Promise.all(this.#lanes.map(lane => lane.close(withinMs)));
    this.#flusher.close();
    return left.reduce((sum, count) => sum + count, 0);
  }

  #open(maxOpenTenants: number, thread?: LaneThread): Lane {
    const { writer, mayBegin, onChanged, onBroken, log } = this.#options;
    const index = this.#nextIndex++;
    const lane = new Lane(index, {
      writer: { ...writer, maxOpenTenants, runningNote: `${writer.runningNote}.${index}` },
      flusher: this.#flusher,
      mayBegin: () => !this.#paused && !this.#holding && mayBegin(),
      onIdle: () => {
        for (const resolve of this.#idleWaiters.splice(0)) resolve();
      },
      onChanged,
      onBroken,
      log,
      thread,
    });
    this.#lanes.push(lane);
    return lane;
  }

  /** The lane that may have a tenant's file open; undefined where it was closed for others, which ends a spare lane, too. */
  #laneOf({ lane, tenant }: LaneClient): Lane | undefined {
    return lane !== undefined && this.#lanes.includes(lane) && lane.mayHaveOpen(tenant) ? lane : undefined;
  }

  /** Closes the file of a tenant with a spare lane, where it may move to one that stays. */
  #moveBack(client: LaneClient): void {
    const lane = this.#laneOf(client);
    if (!this.#mayMoveBack || lane === undefined || client.pinned || !this.#isSpare(lane)) return;
    this.#mayMoveBack = false;
    client.lane = undefined;
    void lane.closeTenant(client.tenant).catch(() => {}); // the thread ended: its connections are closed
  }

  #isSpare(lane: Lane): boolean {
    return this.#lanes.indexOf(lane) >= this.#options.threads;
  }

  /** A lane that is not held up, and that stays; of these the one with the least to do; of equals that with the fewest tenants. */
  #choose(): Lane {
    const now = performance.now();
    return this.#lanes.reduce((best, lane) => {
      const difference =
        Number(isHeldUp(lane, now)) - Number(isHeldUp(best, now)) ||
        Number(this.#isSpare(lane)) - Number(this.#isSpare(best)) ||
        lane.load - best.load ||
        lane.tenants.size - best.tenants.size;
      return difference < 0 ? lane : best;
    });
  }

  #makeRoom(): void {
    if (this.#roomWaiters.length === 0) return;
    const { waiting } = this;
    const hasRoom = ({ count }: { readonly count: number }) => waiting < count || this.#paused;
    const ready = this.#roomWaiters.filter(hasRoom);
    this.#roomWaiters = this.#roomWaiters.filter(waiter => !hasRoom(waiter));
    for (const { resolve } of ready) resolve();
  }

  #look(): void {
    this.#makeRoom();
    const now = performance.now();
    for (const lane of [...this.#lanes]) {
      if (isHeldUp(lane, now) && lane.load > 1) this.#relieve(lane, now);
    }
    const { threads } = this.#options;
    for (const lane of this.#lanes.slice(threads)) this.#retireSpare(lane, now);
    this.#mayMoveBack =
      this.#lanes.length > threads && !this.#lanes.slice(0, threads).some(lane => isHeldUp(lane, now));
  }

  /** Moves the tenants that wait at a lane that is held up. */
  #relieve(held: Lane, now: number): void {
    // The thread that is held up keeps its files locked against every other connection, this process's too.
    if (this.#options.writer.exclusive || !held.hasMovable) return;
    const maxLanes = this.#options.threads * (1 + SPARE_LANES_PER_LANE);
    const isFree = (lane: Lane) => !isHeldUp(lane, now);
    if (!this.#lanes.some(isFree)) {
      if (this.#lanes.length >= maxLanes) return;
      const spare = this.#open(this.#options.openFiles.perSpareLane);
      this.#options.log.warn(
        { lanes: this.#lanes.length, at: held.work?.client.tenant },
        'Each lane has been at one batch for long (a long statement, or a machine without CPU); a spare one is opened',
      );
      this.#spareIdleSince.set(spare, now);
    }
    for (const client of held.withdrawAll()) {
      if (client.pinned) {
        held.enqueue(client);
        continue;
      }
      held.tenants.delete(client.tenant);
      held.leaving.add(client.tenant);
      this.#choose().enqueue(client);
    }
  }

  #retireSpare(lane: Lane, now: number): void {
    if (lane.load > 0 || lane.busy) {
      this.#spareIdleSince.set(lane, now);
      return;
    }
    // A lane whose tenants may come back keeps their connections until they are closed for being idle.
    const { spareIdleMs = SPARE_IDLE_MS } = this.#options;
    if (lane.tenants.size > 0 || now - (this.#spareIdleSince.get(lane) ?? now) < spareIdleMs) return;
    this.#lanes.splice(this.#lanes.indexOf(lane), 1);
    this.#spareIdleSince.delete(lane);
    this.#retiredFaults += lane.faults;
    lane.close().catch(error => this.#options.log.error({ err: error }, 'A spare lane did not close'));
  }

  /**
   * One after the other: the lanes come to rest, the tenant runs its task, each lane runs what it takes at a time. After a crash
   * there may be hundreds that run alone, and others do not wait for all of them.
   */
  async #runAlone(): Promise<void> {
    for (let next = this.#alone[0]; next !== undefined; next = this.#alone[0]) {
      await this.#options.beforeAlone?.();
      this.#holding = true;
      await this.idle();
      const lane = this.#laneOf(next) ?? this.#choose();
      await lane.runAlone(next);
      this.#alone.shift();
      this.#holding = false;
      this.pump();
    }
  }
}

function isHeldUp(lane: Lane, now: number): boolean {
  return lane.heldUpMs(now) > (lane.isAtFiles ? HELD_UP_AT_FILES_MS : HELD_UP_MS);
}
