import { type BrokerOpenFiles, logsBeside, SPARE_LANES_PER_LANE, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { WriterOptions } from '@onewriter/writer';
import { APART_NOTE } from '../recovery/running-notes.ts';
import type { CaptureLink } from '../replica/capture-link.ts';
import { Lane, type LaneClient } from './lane.ts';
import type { LaneOptions } from './lane-options.ts';
import type { LaneRunner } from './lane-thread.ts';
import { WalFlusher } from './wal-flusher.ts';

/** Settings of {@link Lanes}. */
export interface LanesOptions {
  /** Number of permanent lanes. */
  readonly threads: number;
  /** `runningNote` is a prefix: each lane has a file of its own. */
  readonly writer: Omit<WriterOptions, 'progress' | 'runningNote' | 'maxOpenTenants'> & {
    readonly runningNote: string;
  };
  readonly openFiles: BrokerOpenFiles;
  /** Asked before each task: whether this process leads. */
  readonly mayBegin: () => boolean;
  /** Runs tenants that run apart, one batch at a time; it may end at any of them. */
  readonly apart: LaneRunner;
  /** Called for a tenant that was closed because its files changed: it stays closed until a person releases it. */
  readonly onChanged: (tenant: string, finding: WireError) => void;
  /** Called if the threads of a lane do not stay up. */
  readonly onBroken: (error: Error) => void;
  /** How long a spare lane without work stays; default: 30,000. */
  readonly spareIdleMs?: number | undefined;
  /** Connects their threads with the replicator; undefined: nothing is replicated. */
  readonly capture?: CaptureLink | undefined;
  /** Threads for the first lanes, started before; default: none. */
  readonly started?: readonly LaneRunner[] | undefined;
  readonly log: Logger;
}

/** A longer batch holds its lane up: tenants that wait behind it move elsewhere. */
const HELD_UP_MS = 100;
/**
 * The same while the thread works on files. Where the disk is slow, another thread would wait for it, too, and moving a tenant
 * closes and opens its file, which flushes five times.
 */
const HELD_UP_AT_FILES_MS = 500;
const LOOK_EVERY_MS = 50;
const SPARE_IDLE_MS = 30_000;
/** The index of the lane apart. */
const APART = -1;

/**
 * The lanes: one thread each, tenants bound to them. A tenant stays with its lane, where its connection is open, until
 * it is closed or the lane is held up by another tenant's long statement: then it moves to a lane that is not, and if
 * all are, to a spare one. A spare lane keeps few files open. Its tenants move back when no permanent lane is held up, one at
 * each look, so that few files are opened at a time. Each tenant has at most one batch under way.
 *
 * Tenants whose work may end the process that runs it have a lane apart, in a process of its own: they wait for each other there,
 * and no one else waits for them. Their files are closed in one process before they are opened in the other.
 */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #lanes: Lane[] = [];
  readonly #spareIdleSince = new Map<Lane, number>();
  /** A tenant may move from a spare lane to a permanent one. */
  #mayMoveBack = false;
  readonly #flusher: WalFlusher;
  /** See LaneOptions. */
  readonly #distrusted = new Set<string>();
  /** See above. */
  readonly apart: Lane;
  #apartIdleSince = 0;
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
    this.apart = this.#openApart();
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Those in this process. */
  get all(): readonly Lane[] {
    return this.#lanes;
  }

  /** How often a thread ended unexpectedly and was replaced. */
  get faults(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.faults, this.#retiredFaults);
  }

  /** Tenants that the permanent lanes keep open. */
  get maxOpenTenants(): number {
    return this.#options.threads * this.#options.openFiles.perLane;
  }

  /** Tenants whose files are open, or are about to be, at most. */
  get #openTenants(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.openTenants, 0);
  }

  /** Lets a tenant with work wait for its turn. */
  enqueue(client: LaneClient): void {
    if (this.apart.mayHaveOpen(client.tenant)) {
      // Its transaction is there.
      if (client.pinned && client.lane === this.apart) this.apart.enqueue(client);
      else this.#afterClose(client, () => this.#enqueue(client));
    } else this.#enqueue(client);
  }

  #enqueue(client: LaneClient): void {
    this.#moveBack(client);
    const lane = this.#laneOf(client) ?? this.#choose();
    const isNew = !lane.mayHaveOpen(client.tenant);
    lane.enqueue(client);
    // Its descriptors may have to come from those of logs.
    if (isNew) this.#flusher.trim();
  }

  /** Lets a tenant wait for its turn in the process in which nothing else runs at the time. */
  enqueueApart(client: LaneClient): void {
    // A transaction cannot leave the connection that it is open on.
    if (client.pinned) this.enqueue(client);
    else if (this.#lanes.some(lane => lane.mayHaveOpen(client.tenant)))
      this.#afterClose(client, () => this.apart.enqueue(client));
    else this.apart.enqueue(client);
  }

  /** Two processes never have a file open at the same time: each would take the other's commits for those of a stranger. */
  #afterClose(client: LaneClient, enqueue: () => void): void {
    client.lane = undefined;
    // Where a thread ended instead, its connections are closed.
    void this.closeFile(client.tenant).then(enqueue, enqueue);
  }

  /** Begins no more tasks. */
  pause(): void {
    this.#paused = true;
    this.#makeRoom();
  }

  /** Begins tasks that waited because this process did not lead. */
  pump(): void {
    for (const lane of [...this.#lanes, this.apart]) lane.pump();
  }

  /** Resolves when no thread works. */
  async idle(): Promise<void> {
    while ([...this.#lanes, this.apart].some(lane => lane.busy)) {
      await new Promise<void>(resolve => this.#idleWaiters.push(resolve));
    }
  }

  /** Tenants that wait for their turn in this process. */
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
    client.lane = undefined;
    await this.closeFile(client.tenant);
  }

  /**
   * Resolves when no thread has the file of a tenant without work open, also threads that it has left, and its log is written
   * back as far as readers allow.
   */
  async closeFile(tenant: string): Promise<void> {
    await Promise.all(
      [...this.#lanes, this.apart]
        .filter(lane => lane.mayHaveLog(tenant))
        .map(lane => lane.closeTenant(tenant)),
    );
    this.#flusher.trim();
  }

  /**
   * Closes all connections and ends the threads. Idempotent.
   * @param withinMs after which it closes no further connection; default: it closes all
   * @returns how many are left; then a signal has to end the process, or its threads would close them as they end
   */
  async close(withinMs?: number): Promise<number> {
    this.pause();
    clearInterval(this.#timer);
    const left = await Promise.all([...this.#lanes, this.apart].map(lane => lane.close(withinMs)));
    this.#flusher.close();
    return left.reduce((sum, count) => sum + count, 0);
  }

  #open(maxOpenTenants: number, runner?: LaneRunner): Lane {
    const lane = this.#create(this.#nextIndex++, maxOpenTenants, { runner });
    this.#lanes.push(lane);
    return lane;
  }

  #openApart(): Lane {
    const { apart, openFiles } = this.#options;
    const maxOpenTenants = openFiles.perSpareLane;
    return this.#create(APART, maxOpenTenants, { runner: apart, maxGroup: 1, closesAfterBatch: true });
  }

  #create(
    index: number,
    maxOpenTenants: number,
    more: Pick<LaneOptions, 'runner' | 'maxGroup' | 'closesAfterBatch'>,
  ): Lane {
    const { writer, mayBegin, onChanged, onBroken, capture, log } = this.#options;
    const note = index === APART ? APART_NOTE : `.${index}`;
    return new Lane(index, {
      writer: { ...writer, maxOpenTenants, runningNote: `${writer.runningNote}${note}` },
      flusher: this.#flusher,
      distrusted: this.#distrusted,
      mayBegin: () => !this.#paused && mayBegin(),
      onIdle: () => {
        for (const resolve of this.#idleWaiters.splice(0)) resolve();
      },
      ...{ onChanged, onBroken, capture, log, ...more },
    });
  }

  /** The lane that may have a tenant's file open; undefined if it was closed for others or its spare lane ended. */
  #laneOf({ lane, tenant }: LaneClient): Lane | undefined {
    return lane !== undefined && this.#lanes.includes(lane) && lane.mayHaveOpen(tenant) ? lane : undefined;
  }

  /** Closes the file of a tenant on a spare lane, if it may move to a permanent one. */
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

  /** Prefers a lane that is not held up, then a permanent one, then the least load, then the fewest tenants. */
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
    this.#restApart(now);
    const { threads } = this.#options;
    for (const lane of this.#lanes.slice(threads)) this.#retireSpare(lane, now);
    this.#mayMoveBack =
      this.#lanes.length > threads && !this.#lanes.slice(0, threads).some(lane => isHeldUp(lane, now));
  }

  /** Moves the tenants that wait at a lane that is held up. */
  #relieve(held: Lane, now: number): void {
    // The thread that is held up keeps its files locked against every other connection, also of this process.
    if (this.#options.writer.exclusive || !held.hasMovable) return;
    const maxLanes = this.#options.threads * (1 + SPARE_LANES_PER_LANE);
    const isFree = (lane: Lane) => !isHeldUp(lane, now);
    if (!this.#lanes.some(isFree)) {
      if (this.#lanes.length >= maxLanes) return;
      const spare = this.#open(this.#options.openFiles.perSpareLane);
      this.#options.log.warn(
        { lanes: this.#lanes.length, at: held.work?.client.tenant },
        'Every lane has been at one batch for long (a long statement, or a machine without CPU); opening a spare lane',
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

  /** A process without work ends after a while. */
  #restApart(now: number): void {
    const { apart } = this;
    if (apart.load > 0 || apart.busy || apart.tenants.size > 0) this.#apartIdleSince = now;
    else if (now - this.#apartIdleSince >= (this.#options.spareIdleMs ?? SPARE_IDLE_MS))
      this.#options.apart.rest?.();
  }

  #retireSpare(lane: Lane, now: number): void {
    if (lane.load > 0 || lane.busy) {
      this.#spareIdleSince.set(lane, now);
      return;
    }
    // A lane whose tenants may return keeps their connections until they are closed as idle.
    const { spareIdleMs = SPARE_IDLE_MS } = this.#options;
    if (lane.tenants.size > 0 || now - (this.#spareIdleSince.get(lane) ?? now) < spareIdleMs) return;
    this.#lanes.splice(this.#lanes.indexOf(lane), 1);
    this.#spareIdleSince.delete(lane);
    this.#retiredFaults += lane.faults;
    lane.close().catch(error => this.#options.log.error({ err: error }, 'A spare lane did not close'));
  }
}

function isHeldUp(lane: Lane, now: number): boolean {
  return lane.heldUpMs(now) > (lane.isAtFiles ? HELD_UP_AT_FILES_MS : HELD_UP_MS);
}
