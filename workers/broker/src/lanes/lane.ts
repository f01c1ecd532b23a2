import type {
  AppliedOutcome,
  ApplyOutcome,
  ApplyTask,
  CloseOutcome,
  GroupItemOutcome,
  LaneTask,
  WalFile,
} from '@onewriter/writer';
import { GroupSize } from './group-size.ts';
import { keepConnected } from './keep-connected.ts';
import type { LaneOptions } from './lane-options.ts';
import { LaneProgress } from './lane-progress.ts';
import { type LaneRunner, LaneThread } from './lane-thread.ts';
import { Turns } from './turns.ts';
import { notFlushed } from './wal-flusher.ts';

/** A tenant with work, as a lane sees it. */
export interface LaneClient {
  readonly tenant: string;
  /** The lane whose thread has the tenant's connection. */
  lane: Lane | undefined;
  /** Called when it is its turn; undefined where it has no task any more. @param contended others wait. */
  nextTask(contended: boolean): ApplyTask | undefined;
  /** A transaction is open on its connection: it cannot go to another lane. */
  readonly pinned: boolean;
  /** When it may begin to overtake those with a backlog; undefined: it has one (see Turns). */
  readonly overtakesAt: number | undefined;
  /** When it began to wait for a lane, on the monotonic clock, ms; kept when it moves to another. Default: now. */
  readonly waitsSince?: number | undefined;
  /** When its newest job was added, by the clock of Redis. */
  readonly addedAt?: number | undefined;
  onOutcome(outcome: ApplyOutcome): void;
  /** Its batch was revoked before the thread began it. */
  onRevoked(): void;
  /** The thread failed: its progress is unknown. @param wasRunning false: it had not begun this batch. */
  onFault(error: Error, wasRunning: boolean): void;
}

/** One tenant's batch in the thread, or waiting there behind others of its group. */
export interface LaneWork {
  readonly client: LaneClient;
  readonly task: ApplyTask;
}

/** The batches that the thread has. */
interface Group {
  readonly id: number;
  readonly items: readonly LaneWork[];
  /** Items whose outcome arrived, or that were revoked or lost. */
  readonly answered: boolean[];
  left: number;
}

/** Memory that a batch may leave behind: the page cache of its connection, and beside it the copies of its jobs. */
const BATCH_BYTES = 2_500 * 1_024;
const COPIES_OF_JOB = 8;
/** A thread that ends this often in a row without work does not stay up. */
const MAX_IDLE_ENDS = 3;

/**
 * One writer thread, and the tenants that wait for it, in turn. Where several wait, their batches go to the thread as a
 * group, so that it need not wait for the main thread between two of them. Each is answered separately, and batches that the
 * thread has not begun can be revoked: a tenant that waits behind a long statement moves to another lane.
 */
export class Lane {
  readonly index: number;
  /** Tenants whose connection this thread may have, with and without work. */
  readonly tenants = new Set<string>();
  /** Tenants that moved to another lane: their connection here is to be closed. */
  readonly leaving = new Set<string>();
  /** Tenants whose file the thread may have open: those of `tenants`, and those whose close it has not confirmed. */
  readonly #open = new Set<string>();
  /** Tenants whose file was closed for another, which leaves a small log beside it until {@link closeTenant}. */
  readonly #leftLogs = new Set<string>();
  /** Tenants that wait, and those in the thread: it opens their files, again if they were closed for others. */
  readonly #pending = new Set<string>();
  #group: Group | undefined;
  #closing: Promise<number> | undefined;
  readonly #queue = new Turns<LaneClient>();
  readonly #runner: LaneRunner;
  readonly #progress: LaneProgress;
  readonly #groupSize: GroupSize;
  readonly #options: LaneOptions;
  /** Flushes under way: their tenants are not answered yet. */
  #flushing = 0;
  #groups = 0;
  #answerWaiters: (() => void)[] = [];
  #stopConnecting: (() => void) | undefined;
  #seen = { item: -1, since: 0 };
  /** The thread has begun something: it is loaded. */
  #isUp = false;
  /** Time spent in finished groups, and when the current one began; on the monotonic clock, ms. */
  #busyMs = 0;
  #busySince: number | undefined;
  /** Bytes that the batches begun so far may have left in memory. */
  begunBytes = 0;
  /** How often the thread ended unexpectedly and was replaced. */
  faults = 0;
  /** How often in a row it ended without work. */
  #idleEnds = 0;

  constructor(index: number, options: LaneOptions) {
    const runner = options.runner ?? new LaneThread(options.threadUrl);
    const { capture } = options;
    runner.configure(capture === undefined ? options.writer : { ...options.writer, replicated: true });
    this.index = index;
    this.#progress = new LaneProgress(runner.progress);
    this.#groupSize = new GroupSize(options.maxGroup);
    this.#options = options;
    this.#runner = runner;
    runner.onItem(({ group, item, outcome }: GroupItemOutcome) => {
      // A message posted before the thread ended may arrive late.
      if (this.#group?.id === group) this.#answer(this.#group, item, outcome);
    });
    runner.onIdleEnd((error, replaced) => this.#onIdleEnd(error, replaced));
    if (capture !== undefined) this.#stopConnecting = keepConnected(runner, capture);
  }

  /** The current batch of the thread; undefined: none. */
  get work(): LaneWork | undefined {
    const group = this.#group;
    if (group === undefined) return undefined;
    const item = this.#progress.item;
    return group.answered[item] ? undefined : group.items[item];
  }

  /** Whether the thread has batches, or answers wait for their flush. */
  get busy(): boolean {
    return this.#group !== undefined || this.#flushing > 0;
  }

  /** Number of tenants that wait or are in the thread. */
  get load(): number {
    return this.#queue.size + (this.#group?.left ?? 0);
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Total time in which the thread had work, in ms. */
  busyMs(now: number): number {
    return this.#busyMs + (this.#busySince === undefined ? 0 : now - this.#busySince);
  }

  /**
   * How long the thread has been at the same batch, in ms, as seen by periodic looks. No tenant holds up a thread that is still
   * loading: another would have to load, too, and both would take longer.
   */
  heldUpMs(now: number): number {
    const item = this.work === undefined || !this.#hasBegun ? -1 : this.#progress.item;
    if (item !== this.#seen.item) this.#seen = { item, since: now };
    return item < 0 ? 0 : now - this.#seen.since;
  }

  /** Whether the thread opens, commits, writes back or closes files (other threads would wait, too), or has not begun. */
  get isAtFiles(): boolean {
    return this.#progress.isAtFiles;
  }

  /** Whether this thread has begun any of its batches. */
  get #hasBegun(): boolean {
    this.#isUp ||= this.#group !== undefined && this.#progress.hasBegun;
    return this.#isUp;
  }

  /** Position of the thread in its batch: index of the job, and of the write in the job. */
  get position(): { readonly job: number; readonly op: number } {
    return this.#progress.position;
  }

  /** Lets the tenant wait for its turn, behind those that wait; a tenant with only new work may overtake some. */
  enqueue(client: LaneClient): void {
    client.lane = this;
    this.tenants.add(client.tenant);
    this.#open.add(client.tenant);
    this.leaving.delete(client.tenant);
    this.#pending.add(client.tenant);
    this.#queue.add(client, client);
    this.pump();
  }

  /** More jobs arrived for a tenant that may wait here. */
  renew(client: LaneClient): void {
    this.#queue.renew(client, client);
  }

  /** Whether a tenant waits that could go to another lane. */
  get hasMovable(): boolean {
    const waits = ({ pinned }: LaneClient) => !pinned;
    return (
      [...this.#queue].some(waits) ||
      (this.#group?.items.some(({ client }, index) => index > this.#progress.item && waits(client)) ?? false)
    );
  }

  /** Withdraws all waiting tenants: from the queue, and from the group those the thread has not begun. */
  withdrawAll(): readonly LaneClient[] {
    const queued = this.#queue.removeAll();
    for (const { tenant } of queued) this.#pending.delete(tenant);
    return [...this.#revoke(), ...queued];
  }

  /** Begins the next tasks, if the thread is free and may work. */
  pump(): void {
    if (this.#group !== undefined || this.#closing !== undefined || this.#queue.size === 0) return;
    if (!this.#options.mayBegin()) return;
    const items: LaneWork[] = [];
    const size = this.#groupSize.next;
    while (items.length < size) {
      const client = this.#queue.next(performance.now());
      if (client === undefined) break;
      const task = client.nextTask(items.length > 0 || this.#queue.size > 0);
      if (task !== undefined) items.push({ client, task: this.#warn(task) });
      else this.#pending.delete(client.tenant);
    }
    if (items.length > 0) void this.#run(items, this.#queue.size > 0);
  }

  /** Rolls a tenant's open transaction back, after the running task and before any later one. */
  rollback(tenant: string, transaction: string): void {
    // If the thread ended, so did the transaction.
    this.#tidy({ kind: 'rollback', tenant, transaction }).catch(() => {});
  }

  /** Closes a tenant's connection, after the running task, and writes its log back. */
  async closeTenant(tenant: string): Promise<void> {
    this.tenants.delete(tenant);
    this.#leftLogs.delete(tenant);
    await this.#tidy({ kind: 'close', tenant });
    if (!this.tenants.has(tenant)) this.#open.delete(tenant);
  }

  /** Tenants whose file the thread has open, at most: it closes files to open others. */
  get openTenants(): number {
    return Math.min(this.#open.size, this.#options.writer.maxOpenTenants);
  }

  /** Whether the thread may have the tenant's file open. */
  mayHaveOpen(tenant: string): boolean {
    return this.#open.has(tenant);
  }

  /** Whether {@link closeTenant} may have something to do. */
  mayHaveLog(tenant: string): boolean {
    return this.#open.has(tenant) || this.#leftLogs.has(tenant);
  }

  /**
   * Closes all connections and ends the thread, after the tasks submitted before. Idempotent.
   * @param withinMs see CloseTask. If connections are left, the thread stays: its end would close them.
   * @returns how many are left
   */
  close(withinMs?: number): Promise<number> {
    this.#closing ??= this.#close(withinMs);
    return this.#closing;
  }

  async #close(withinMs: number | undefined): Promise<number> {
    this.#stopConnecting?.();
    let left = 0;
    try {
      left = await this.#runTidy({ kind: 'close', tenant: null, withinMs });
    } finally {
      // Nothing is under way now: the pool would treat the answer to an abandoned task as its own error.
      if (left === 0) await this.#runner.destroy();
    }
    return left;
  }

  /** Runs a task that no answer depends on. A lane that closes closes all connections anyway. */
  async #tidy(task: LaneTask): Promise<void> {
    if (this.#closing === undefined) await this.#runTidy(task);
    else await this.#closing;
  }

  /** @returns connections that are left open because time was up */
  async #runTidy(task: LaneTask): Promise<number> {
    const { changed = [], left = 0 } = (await this.#runner.run(task)) as CloseOutcome;
    for (const { tenant, error } of changed) this.#options.onChanged(tenant, error);
    return left;
  }

  /** The thread ended without a task: out of memory, or it could not start. */
  #onIdleEnd(error: Error, replaced: boolean): void {
    const { log, onBroken } = this.#options;
    this.faults++;
    this.#isUp = false;
    if (this.#closing !== undefined) return;
    if (replaced && ++this.#idleEnds < MAX_IDLE_ENDS) {
      log.error({ err: error, lane: this.index }, 'A writer thread ended; replacing it');
      return;
    }
    this.#closing = this.#runner.destroy().then(() => 0);
    onBroken(error);
  }

  /** @param contended others wait for the thread, so the main thread flushes */
  async #run(items: readonly LaneWork[], contended = false): Promise<void> {
    const group: Group = { id: ++this.#groups, items, answered: items.map(() => false), left: items.length };
    this.#group = group;
    for (const { task } of items) {
      this.begunBytes += task.jobs.reduce((sum, { data }) => sum + COPIES_OF_JOB * data.length, BATCH_BYTES);
    }
    this.#seen = { item: -1, since: 0 };
    this.#busySince = performance.now();
    this.#progress.reset();
    try {
      if (items.length === 1 && (!contended || this.#options.maxGroup === 1)) {
        // Alone: the commit flushes itself, which is the shortest way.
        this.#progress.beginAlone();
        this.#answer(group, 0, (await this.#runner.run(items[0]!.task)) as ApplyOutcome);
      } else {
        const tasks = items.map(({ task }): ApplyTask => ({ ...task, flush: 'later' }));
        await this.#runner.run({ kind: 'group', id: group.id, tasks });
        // Outcomes arrive on another channel; the end of the group may overtake them.
        while (group.left > 0) await new Promise<void>(resolve => this.#answerWaiters.push(resolve));
      }
    } catch (error) {
      this.faults++;
      this.#isUp = false;
      const running = this.#progress.hasBegun ? this.#progress.item : undefined;
      for (const [index, { client }] of items.entries()) {
        if (!this.#settle(group, index)) continue;
        client.onFault(error as Error, index === running);
      }
    }
    this.#idleEnds = 0;
    this.#busyMs = this.busyMs(performance.now());
    this.#busySince = undefined;
    if (this.#group === group) this.#group = undefined;
    if (this.#options.closesAfterBatch) this.#leaveUnlessNeeded(items);
    this.pump();
    for (const tenant of this.leaving) {
      this.leaving.delete(tenant);
      void this.closeTenant(tenant).catch(() => {}); // the thread ended: its connections are closed
    }
    if (!this.busy) this.#options.onIdle();
  }

  /** The files of tenants that do not wait here again are closed before the next batch, which may take long. */
  #leaveUnlessNeeded(items: readonly LaneWork[]): void {
    for (const { client } of items) {
      if (client.pinned || this.#pending.has(client.tenant)) continue;
      this.closeTenant(client.tenant).catch(() => {}); // the thread ended: its connections are closed
    }
  }

  /** @returns the clients of items that the thread has not begun; they are free again. */
  #revoke(): readonly LaneClient[] {
    const group = this.#group;
    if (group === undefined || group.items.length === 1) return [];
    const begun = this.#progress.revoke();
    if (begun === undefined) return []; // they were already
    const revoked: LaneClient[] = [];
    for (let index = begun; index < group.items.length; index++) {
      if (!this.#settle(group, index)) continue;
      const { client } = group.items[index]!;
      client.onRevoked();
      revoked.push(client);
    }
    return revoked;
  }

  /** An outcome arrived; its client gets it when its WAL is flushed. */
  #answer(group: Group, index: number, outcome: ApplyOutcome): void {
    if (!this.#settle(group, index)) return;
    this.#forget(outcome.evicted);
    this.#isUp = true;
    this.#groupSize.note(outcome);
    const { client } = group.items[index]!;
    if (outcome.kind === 'refused' || outcome.unflushed === undefined) this.#tell(client, outcome);
    else void this.#flush(client, outcome, outcome.unflushed);
  }

  /** The thread may not be the one under which the file failed: it was closed for another, or the tenant moved. */
  #warn(task: ApplyTask): ApplyTask {
    return this.#options.distrusted.has(task.tenant) ? { ...task, afterIoError: true } : task;
  }

  #tell(client: LaneClient, outcome: ApplyOutcome): void {
    const { distrusted } = this.#options;
    if (outcome.kind === 'applied') distrusted.delete(client.tenant);
    else if (outcome.error.code === 'DATABASE_IO_ERROR') distrusted.add(client.tenant);
    client.onOutcome(outcome);
  }

  /** Their files were closed for others. Tenants that wait here open them here again; the others may go to any lane. */
  #forget(evicted: readonly string[]): void {
    for (const tenant of evicted) {
      if (this.#pending.has(tenant)) continue;
      this.tenants.delete(tenant);
      this.#open.delete(tenant);
      this.#leftLogs.add(tenant);
    }
  }

  async #flush(client: LaneClient, outcome: AppliedOutcome, wal: WalFile): Promise<void> {
    this.#flushing++;
    const startedAt = performance.now();
    let answer: ApplyOutcome = outcome;
    try {
      await this.#options.flusher.flush(wal);
      answer = { ...outcome, stats: { ...outcome.stats, flushMs: performance.now() - startedAt } };
    } catch (error) {
      answer = notFlushed(error as Error);
      // If the thread ended meanwhile, its connection is gone, too.
      await this.#tidy({ kind: 'distrust', tenant: client.tenant }).catch(() => {});
    } finally {
      this.#flushing--;
    }
    this.#tell(client, answer);
    if (!this.busy) this.#options.onIdle();
  }

  /** @returns false where the item was settled before. */
  #settle(group: Group, index: number): boolean {
    if (group.answered[index]) return false;
    group.answered[index] = true;
    this.#pending.delete(group.items[index]!.client.tenant);
    if (--group.left === 0) for (const resolve of this.#answerWaiters.splice(0)) resolve();
    return true;
  }
}
