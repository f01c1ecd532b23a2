import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { backOffMs } from '@onewriter/protocol';
import {
  type ChosenDurabilities,
  type FromReplicator,
  type ReplicaStatus,
  type ReplicatorData,
  replicatorThreadUrl,
  type StoredBranch,
  type StoredUpTo,
  type ToReplicator,
} from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import { StateMachine, type Transitions } from '@onewriter/tenants';
import { CaptureRoom, spoolFolder } from '@onewriter/writer';
import type { CaptureConnection, CaptureLink } from './capture-link.ts';
import { pruneSpools } from './prune-spools.ts';
import { refusedStatus } from './refused-status.ts';
import type { ReplicaMode, ReplicaState, StoredListener } from './replica-state.ts';

/*
 *              start                'started'
 *   absent ────────────▶ starting ─────────────▶ running
 *      ▲                    │ its thread ended,     │
 *      ├────────────────────┴─── also by an error ──┤
 *      └── after a pause it starts again            │ end
 *                                                   ▼
 *                                                 ended
 *
 * A dead thread never ends the broker. What was captured and not stored is gone with it: the next one begins from what the store
 * has, and each writer thread sends again what is still in the logs.
 */

type State = 'absent' | 'starting' | 'running' | 'ended';

const TRANSITIONS: Transitions<State> = {
  absent: ['starting', 'ended'],
  starting: ['running', 'absent', 'ended'],
  running: ['absent', 'ended'],
  ended: [],
};
const RESTART_PAUSES = Object.freeze({ firstMs: 200, maxMs: 30_000 });
/** A thread that ran for so long did not fail at its start. */
const STEADY_MS = 60_000;
/** It cannot work until a person acts. */
const REFUSED_PAUSE_MS = 60_000;
/** The thread ends this long after what was granted for its end. */
const END_GRACE_MS = 500;

/** Dependencies of {@link Replica}. */
export interface ReplicaOptions {
  readonly data: Omit<ReplicatorData, 'room'>;
  /** Of tenants without a mode of their own. */
  readonly defaultMode: ReplicaMode;
  /** See CaptureRoom. */
  readonly boundBytes: number;
  readonly log: Logger;
  /** Another broker writes to the store: this one must stop leading. */
  readonly onFenced: (message: string) => void;
  /** Called before {@link onStarted} with what the store has; the start waits for it. */
  readonly onDurabilities?: ((stored: ChosenDurabilities) => Promise<void>) | undefined;
  /** Called when it runs, each time. @param known tenants that the store has @param branches those of them without pages of their own */
  readonly onStarted: (known: readonly string[], branches: readonly StoredBranch[]) => void;
  /** A branch is stored, or refused. */
  readonly onBased: (message: Extract<FromReplicator, { kind: 'based' }>) => void;
  /** Entry file of the thread; default: the replicator. */
  readonly threadUrl?: URL | undefined;
}

/** What the replicator is to know of one tenant. */
type TenantMessage = Extract<ToReplicator, { readonly tenant: string }>;
type FileChange = Extract<TenantMessage, { readonly kind: 'deleted' | 'replaced' }>;

/** The replicator of a leader: its thread, and what is known from it. */
export class Replica implements ReplicaState, CaptureLink {
  readonly configured = true;
  readonly #options: ReplicaOptions;
  readonly #state = new StateMachine<State>('The replicator', TRANSITIONS, 'absent');
  readonly #modes = new Map<string, ReplicaMode>();
  readonly #stored = new Map<string, StoredUpTo>();
  /** The store has nothing that came after it yet; what it says until then is about the former file. */
  readonly #changes = new Map<string, FileChange>();
  #lastChange = 0;
  readonly #storedListeners = new Set<StoredListener>();
  readonly #restartListeners = new Set<() => void>();
  #worker: Worker | undefined;
  #room: CaptureRoom;
  /** Ports of threads that were connected while there was no replicator. */
  #waitingPorts: MessagePort[] = [];
  #isAvailable = true;
  #status: ReplicaStatus | undefined;
  #problem: { readonly message: string; readonly sinceMs: number } | undefined;
  #failures = 0;
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #startWaiters: (() => void)[] = [];
  #adopting = Promise.resolve();
  #ending: Promise<void> | undefined;
  #onEnded: (() => void) | undefined;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#room = CaptureRoom.create(options.boundBytes);
  }

  get available(): boolean {
    return this.#isAvailable && this.#problem === undefined && this.#worker !== undefined;
  }

  get status(): ReplicaStatus | undefined {
    if (this.#problem === undefined) return this.#status;
    return refusedStatus(this.#options.data.urls[0]!, this.#problem, this.#status);
  }

  /** Why nothing is replicated until a person acts; undefined: it is. */
  get problem(): string | undefined {
    return this.#problem?.message;
  }

  stored(tenant: string): StoredUpTo | undefined {
    return this.#stored.get(tenant);
  }

  onStored(listener: StoredListener): () => void {
    this.#storedListeners.add(listener);
    return () => this.#storedListeners.delete(listener);
  }

  modeOf(tenant: string): ReplicaMode {
    return this.#modes.get(tenant) ?? this.#options.defaultMode;
  }

  setMode(tenant: string, mode: ReplicaMode | undefined): void {
    const wasOff = this.modeOf(tenant) === 'off';
    if (mode === undefined) this.#modes.delete(tenant);
    else this.#modes.set(tenant, mode);
    const off = this.modeOf(tenant) === 'off';
    if (off !== wasOff) this.note({ kind: 'off', tenant, off });
  }

  /** All that people chose: the store keeps them. */
  storeDurabilities(tenants: ChosenDurabilities): void {
    this.#worker?.postMessage({ kind: 'durabilities', tenants } satisfies ToReplicator);
  }

  /** Starts the thread. */
  start(): void {
    this.#start();
  }

  /** Resolves when it runs, or the time is over: the store may be away, and replication begins later. */
  async started(withinMs: number): Promise<boolean> {
    if (!this.#state.is('running')) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, withinMs);
        this.#startWaiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.#state.is('running');
  }

  open(): CaptureConnection {
    const { port1, port2 } = new MessageChannel();
    if (this.#worker === undefined) this.#waitingPorts.push(port2);
    else this.#givePort(this.#worker, port2);
    const spool = spoolFolder(this.#options.data.dataDir, this.#room.id);
    return { port: port1, room: this.#room.buffer, spool };
  }

  onRestart(listener: () => void): () => void {
    this.#restartListeners.add(listener);
    return () => this.#restartListeners.delete(listener);
  }

  /** Something happened to a tenant that its log does not show. */
  note(message: TenantMessage): void {
    if (message.kind !== 'deleted' && message.kind !== 'replaced') {
      this.#worker?.postMessage(message);
      return;
    }
    const { kind, tenant } = message;
    // The new file may count from a lower number.
    this.#stored.delete(tenant);
    const change: FileChange = { kind, tenant, change: ++this.#lastChange };
    this.#changes.set(tenant, change);
    this.#worker?.postMessage(change);
  }

  /** Ships what is there, and ends. Idempotent. */
  end(withinMs: number): Promise<void> {
    this.#ending ??= this.#end(withinMs);
    return this.#ending;
  }

  async #end(withinMs: number): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    const mayShip = this.#state.is('running');
    if (!this.#state.is('ended')) this.#state.enter('ended');
    if (worker === undefined) return;
    if (mayShip) {
      const ended = new Promise<void>(resolve => {
        this.#onEnded = resolve;
        this.#timer = setTimeout(resolve, withinMs + END_GRACE_MS);
      });
      worker.postMessage({ kind: 'end', withinMs } satisfies ToReplicator);
      await ended;
      clearTimeout(this.#timer);
    }
    this.#worker = undefined;
    await worker.terminate();
  }

  #start(): void {
    this.#state.enter('starting');
    this.#startedAt = performance.now();
    const { data, threadUrl = replicatorThreadUrl } = this.#options;
    const workerData: ReplicatorData = { ...data, room: this.#room.buffer };
    const worker = new Worker(threadUrl, { workerData, name: 'onewriter-replicator' });
    this.#worker = worker;
    worker.on('message', (message: FromReplicator) => {
      if (worker === this.#worker) this.#receive(message);
    });
    worker.on('error', error => this.#options.log.error({ err: error }, 'The replicator failed'));
    worker.once('exit', () => this.#exited(worker));
    for (const port of this.#waitingPorts.splice(0)) this.#givePort(worker, port);
    for (const [tenant, mode] of this.#modes) {
      if (mode === 'off') this.note({ kind: 'off', tenant, off: true });
    }
    // The former one may have ended before it stored them.
    for (const change of this.#changes.values()) worker.postMessage(change);
  }

  #givePort(worker: Worker, port: MessagePort): void {
    worker.postMessage({ kind: 'port', port } satisfies ToReplicator, [port]);
  }

  #receive(message: FromReplicator): void {
    const { log, onFenced, onStarted, onDurabilities = async () => {} } = this.#options;
    switch (message.kind) {
      case 'durabilities':
        this.#adopting = onDurabilities(message.tenants).catch(error =>
          log.error({ err: error }, 'Durabilities of tenants could not be taken from the store'),
        );
        break;
      case 'started':
        if (!this.#state.is('starting')) return;
        this.#state.enter('running');
        this.#problem = undefined;
        this.#isAvailable = true;
        void this.#adopting.then(() => this.#endWaits());
        onStarted(message.known, message.branches);
        break;
      case 'based':
        this.#options.onBased(message);
        break;
      case 'stored':
        for (const upTo of message.upTo) {
          const change = this.#changes.get(upTo.tenant);
          if (change !== undefined && change.change !== upTo.change) continue;
          this.#changes.delete(upTo.tenant);
          this.#stored.set(upTo.tenant, upTo);
          for (const listener of this.#storedListeners) listener(upTo, message.atMs);
        }
        break;
      case 'available':
        this.#isAvailable = message.available;
        if (message.available) log.info('The store of the replica answers again');
        else log.error('The store of the replica does not answer: commits wait in memory');
        break;
      case 'status':
        this.#status = message.status;
        break;
      case 'fenced':
        onFenced(message.message);
        break;
      case 'refused':
        if (message.message !== this.#problem?.message) {
          log.error({ code: message.code }, `Nothing is replicated: ${message.message}`);
        }
        this.#problem = { message: message.message, sinceMs: this.#problem?.sinceMs ?? Date.now() };
        this.#endWaits();
        // It would keep what is captured and store none of it.
        void this.#worker?.terminate();
        break;
      case 'ended':
        this.#onEnded?.();
        break;
      default:
        message satisfies never;
    }
  }

  #endWaits(): void {
    for (const resolve of this.#startWaiters.splice(0)) resolve();
  }

  /** A thread that never gets as far as to read the spools must not fill the disk with them. */
  #prune(): void {
    const { data, boundBytes, log } = this.#options;
    try {
      pruneSpools(data.dataDir, this.#room.id, boundBytes);
    } catch (error) {
      log.error({ err: error }, 'Spools of replicators that ended were not removed');
    }
  }

  #exited(worker: Worker): void {
    this.#onEnded?.();
    if (worker !== this.#worker || this.#state.is('ended')) return;
    this.#worker = undefined;
    this.#state.enter('absent');
    this.#prune();
    // What the former one had is gone: another room begins empty.
    this.#room = CaptureRoom.create(this.#options.boundBytes);
    if (performance.now() - this.#startedAt >= STEADY_MS) this.#failures = 0;
    this.#failures++;
    const pauseMs =
      this.#problem === undefined ? backOffMs(this.#failures, RESTART_PAUSES) : REFUSED_PAUSE_MS;
    if (this.#problem === undefined) {
      this.#options.log.error({ pauseMs }, 'The replicator ended; starting it again');
    }
    this.#timer = setTimeout(() => {
      this.#start();
      for (const listener of this.#restartListeners) listener();
    }, pauseMs);
  }
}
