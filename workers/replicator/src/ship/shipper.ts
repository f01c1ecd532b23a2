import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { isOnewriterError, toWireError } from '@onewriter/protocol';
import type { CaptureMessage } from '@onewriter/writer';
import type { Compacted } from '../compact/compact-once.ts';
import { Compaction } from '../compact/compaction.ts';
import { StoreCopier } from '../copy/store-copier.ts';
import type { Keyring } from '../format/keyring.ts';
import { assertObeysConditions } from '../store/obeys-conditions.ts';
import type { OpenStore } from '../store/store-watch.ts';
import { TenantRehearsals, type TenantRehearsalsOptions } from '../verify/tenant-rehearsals.ts';
import { Branches, branchesIn } from './branches.ts';
import { Captures } from './captures.ts';
import { DeflateBudget } from './deflate-budget.ts';
import { Failures } from './failures.ts';
import { FileChanges } from './file-changes.ts';
import { FileSweep } from './file-sweep.ts';
import { LogFlushes } from './flush-logs.ts';
import { FullQueue, type ReadFull } from './full-queue.ts';
import { FullReasons } from './full-reasons.ts';
import { findLostKeys } from './lost-keys.ts';
import { makeSegments } from './make-segments.ts';
import type { FromReplicator, ReplicatorData, ToReplicator } from './messages.ts';
import { PackTimer } from './pack-timer.ts';
import { PackWriter, untilAnswered } from './pack-writer.ts';
import { type PackedTenant, type StoredTenant, statusOf, storedOf, storedWith } from './ship-state.ts';
import { StoredDurabilities } from './stored-durabilities.ts';
import { storedMessages } from './stored-messages.ts';
import { takeItems } from './take-items.ts';
import { takeLead } from './take-lead.ts';
import { TenantFiles } from './tenant-files.ts';
import { TenantLine } from './tenant-line.ts';

/*
 * Stores what the writers capture.
 *
 *   writers ──pieces──▶ line of the tenant ──▶ pack ──▶ store ──▶ 'stored' to the broker, room to the writers
 *                          │ a file that has to be read whole: a process of its own
 *
 * A pack is made soon after the first piece came, at once where a caller waits; at most two in an interval otherwise. Up to four are
 * being stored; while they are, or the store is away, pieces wait in their lines: the writers bound how many.
 */

/** With this much the store is taken for away: callers do not wait for it. */
const AWAY_AFTER_MS = 10_000;
const STATUS_EVERY_MS = 1_000;
/** However many packs there are: each run is a process. */
const COMPACT_EVERY_MS = 10_000;
/** At the end: what is under way from the writers arrives within this. */
const END_GATHER_MS = 100;

export interface ShipperOptions {
  readonly data: ReplicatorData;
  readonly store: OpenStore;
  readonly keys: Keyring;
  /** Unique for this start. */
  readonly instance: string;
  readonly readFull: ReadFull;
  /** The same of a branch that has no file, out of the store. */
  readonly copyBranch: ReadFull;
  /** Of a term: in a process of low priority. */
  readonly compact: (term: number, signal: AbortSignal, elapsedMs: number) => Promise<Compacted>;
  /** Undefined: no tenant is restored for a test. */
  readonly verify?: TenantRehearsalsOptions['verify'] | undefined;
  /** Further stores, which get the same objects after this one. */
  readonly copies: readonly OpenStore[];
  readonly post: (message: FromReplicator) => void;
  /** What must not happen: the thread ends, and is started again. */
  readonly onFatal: (error: unknown) => void;
  readonly nowMs?: (() => number) | undefined;
}

interface Running {
  readonly term: number;
  readonly writer: PackWriter<readonly PackedTenant[]>;
  readonly compaction: Compaction;
  readonly copiers: readonly StoreCopier[];
  readonly rehearsals: TenantRehearsals | undefined;
  readonly durabilities: StoredDurabilities;
}

export class Shipper {
  readonly #options: ShipperOptions;
  readonly #nowMs: () => number;
  readonly #stop = new AbortController();
  readonly #files: TenantFiles;
  readonly #budget: DeflateBudget;
  readonly #captures: Captures;
  readonly #lines = new Map<string, TenantLine>();
  /** Those that have something for the next pack, the longest waiting first. */
  readonly #ready = new Set<TenantLine>();
  readonly #stored = new Map<string, StoredTenant>();
  readonly #full: FullQueue<TenantLine>;
  readonly #reasons: FullReasons;
  readonly #branches: Branches;
  readonly #timer: PackTimer;
  readonly #flushes = new LogFlushes();
  readonly #changes = new FileChanges();
  readonly #sweep: FileSweep<TenantLine>;
  /** What came before the start was done, each in order: a tenant that is off takes nothing of a former process. */
  #early: Record<'changes' | 'messages', (() => void)[]> | undefined = { changes: [], messages: [] };
  #running: Running | undefined;
  /** The pack that is being made: its keys may have to be read from the store. */
  #making: { readonly contents: readonly PackedTenant[]; readonly sinceMs: number } | undefined;
  #isMaking = false;
  /** Called when all that came is stored. */
  #onIdle: (() => void) | undefined;
  readonly #startedMs: number;
  #isAvailable = true;
  #gaps = 0;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #failures: Failures;

  constructor(options: ShipperOptions) {
    this.#options = options;
    const { data, post, readFull, copyBranch, nowMs = Date.now } = options;
    const steadyMs = options.nowMs ?? (() => performance.now()); // the machine's clock may be set back
    this.#nowMs = nowMs;
    this.#startedMs = nowMs();
    this.#failures = new Failures(nowMs);
    // Each call of the store listens to it.
    setMaxListeners(0, this.#stop.signal);
    this.#files = new TenantFiles(data, this.#failures);
    this.#budget = new DeflateBudget(nowMs());
    this.#timer = new PackTimer(data.intervalMs, steadyMs, () => void this.#makePacks());
    this.#captures = new Captures({
      ...{ data, lines: this.#lines, failures: this.#failures },
      onMessage: message => this.#later('messages', () => this.#captures.inOrder(message)),
      take: message => this.#take(message),
    });
    this.#branches = new Branches({
      ...{ lines: this.#lines, stored: this.#stored, retentionMs: data.retentionMs, nowMs, post },
    });
    this.#full = new FullQueue({
      readFull: (tenant, pos, signal) => {
        const isInStore = this.#lines.get(tenant)?.base !== undefined && this.#files.sizeOf(tenant) === 0;
        return (isInStore ? copyBranch : readFull)(tenant, pos, signal);
      },
      sizeOf: tenant => this.#files.sizeOf(tenant),
      // It is behind until then, and a rehearsal can wait.
      onBegin: () => this.#running?.rehearsals?.interrupt(),
      onDone: line => this.#changed(line, false),
      onError: (tenant, error) => this.#failures.note(tenant, error),
      nowMs: steadyMs,
      signal: this.#stop.signal,
    });
    this.#reasons = new FullReasons({
      ...{ store: options.store, lines: this.#lines, stored: this.#stored, nowMs, signal: this.#stop.signal },
      sizeOf: tenant => this.#files.sizeOf(tenant),
      add: line => this.#full.add(line),
    });
    this.#sweep = new FileSweep(this.#files, line => this.#changed(line, false), steadyMs);
  }

  /** Begins to lead the store, for as long as it takes it to answer. */
  async start(): Promise<void> {
    this.#every(STATUS_EVERY_MS, () => this.#everySecond());
    await this.#start().catch(error => this.#failed(error));
  }

  receive(message: ToReplicator): void {
    if (message.kind === 'port') this.#captures.addPort(message.port);
    else if (message.kind === 'end') void this.#end(message.withinMs);
    else if (message.kind === 'durabilities')
      this.#later('changes', () => this.#running?.durabilities.write(message.tenants));
    else this.#later('changes', () => this.#changeLine(message));
  }

  #changeLine(message: Extract<ToReplicator, { tenant: string }>): void {
    const { tenant } = message;
    if (message.kind === 'deleted') this.#files.removeNote(tenant);
    this.#running?.rehearsals?.forget(tenant);
    const isUrgent = message.kind === 'base';
    const change = (line: TenantLine) => {
      if (message.kind === 'off') line.setOff(message.off);
      else if (message.kind === 'deleted') line.deleted();
      else if (message.kind === 'replaced') line.replaced();
      else if (message.kind === 'shorten') line.shorten();
      else this.#branches.begin(line, message);
      if ('change' in message) this.#changes.note(tenant, message.change, line.pos);
    };
    this.#withLine(tenant, change, isUrgent);
  }

  async #start(): Promise<void> {
    const { data, store, keys, instance, post, compact, copies } = this.#options;
    const { signal } = this.#stop;
    const lead = await untilAnswered(signal, async () => {
      await assertObeysConditions(store, { signal });
      return takeLead(store, { ...data, instance, nowMs: this.#startedMs, signal });
    }, ['REPLICA_UNAVAILABLE']);
    const { term } = lead;
    const onError = (error: unknown) => this.#failures.note('', error);
    const nowMs = this.#nowMs();
    for (const [tenant, { last }] of lead.tenants) {
      if (last === undefined) continue;
      this.#lines.set(tenant, this.#newLine(tenant, last));
      this.#stored.set(tenant, storedOf(tenant, last, nowMs));
    }
    const newest = lead.next - 1;
    const copiers = copies.map(to => new StoreCopier({ from: store, to, newest, signal }));
    const writer = new PackWriter<readonly PackedTenant[]>({
      ...{ store, term, next: lead.next, signal, nowMs: this.#nowMs },
      onStored: (pack, number, bytes) => {
        for (const copier of copiers) copier.noteStored(number, bytes);
        this.#packStored(pack);
      },
      onFailed: error => this.#failed(error),
    });
    const compaction = new Compaction({
      compact: async (given, elapsedMs) => {
        const compacted = await compact(term, given, elapsedMs);
        this.#branches.isHeld = compacted.isExpiryHeld;
        return compacted;
      },
      onFound: found => this.#reasons.take(found),
      onError,
      nowMs: this.#nowMs,
    });
    const durabilities = new StoredDurabilities({ store, term, signal, onError });
    const chosen = await untilAnswered(signal, () => durabilities.read());
    this.#running = { term, writer, compaction, copiers, durabilities, rehearsals: this.#newRehearsals() };
    for (const copier of copiers) void copier.run();
    const alive = [...lead.tenants].filter(([, chain]) => chain.isAlive).map(([tenant]) => tenant);
    post({ kind: 'durabilities', tenants: chosen });
    post({ kind: 'started', known: alive, branches: branchesIn(lead.tenants) });
    for (const message of storedMessages([...this.#stored.values()], nowMs)) post(message);
    const { changes, messages } = this.#early!;
    this.#early = undefined;
    for (const change of changes) change();
    for (const line of this.#captures.takeFormer()) this.#changed(line, false);
    for (const message of messages) message();
    for (const tenant of keys.unreadable(lead.tenants)) this.#withLine(tenant, line => line.replaced());
    this.#captures.request();
    this.#every(COMPACT_EVERY_MS, () => compaction.look(writer.stored));
    this.#every(data.intervalMs, () => this.#captures.request());
  }

  #newRehearsals(): TenantRehearsals | undefined {
    const { data, verify } = this.#options;
    if (verify === undefined) return undefined;
    const parts = { dataDir: data.dataDir, lines: this.#lines, stored: this.#stored, nowMs: this.#nowMs };
    const onError = this.#failures.note.bind(this.#failures);
    return this.#failures.try('', () => new TenantRehearsals({ ...parts, verify, onError }));
  }

  #take(message: CaptureMessage): void {
    const isUrgent = message.kind === 'log' && message.urgent;
    this.#withLine(message.tenant, line => line.receive(message), isUrgent);
  }

  #withLine(tenant: string, change: (line: TenantLine) => void, isUrgent = false): void {
    let line = this.#lines.get(tenant);
    if (line === undefined) {
      line = this.#newLine(tenant);
      this.#lines.set(tenant, line);
    }
    change(line);
    this.#changed(line, isUrgent);
  }

  #changed(line: TenantLine, isUrgent: boolean): void {
    if (line.items.length > 0) {
      this.#ready.add(line);
      this.#timer.set(isUrgent);
    }
    if (!line.needsReading) return;
    this.#full.add(line);
    if (this.#isAvailable) this.#full.advance();
  }

  #newLine(tenant: string, last?: Parameters<typeof storedOf>[1]): TenantLine {
    return new TenantLine(
      tenant,
      {
        nowMs: this.#nowMs,
        free: share => this.#captures.free(share),
        gap: () => this.#gaps++,
        readNote: () => this.#files.readNote(tenant),
        writeNote: (_, note) => this.#files.writeNote(tenant, note),
      },
      last,
    );
  }

  /** Makes packs as long as one is due, and the store takes it. */
  async #makePacks(): Promise<void> {
    const writer = this.#running?.writer;
    if (writer === undefined || this.#isMaking) return;
    this.#isMaking = true;
    try {
      while (writer.isFree && this.#timer.isDue && this.#ready.size > 0) await this.#makePack(writer);
    } catch (error) {
      this.#failed(error);
    }
    this.#isMaking = false;
    if (this.#ready.size > 0) this.#timer.set(false);
    this.#noteIdle();
  }

  async #makePack(writer: PackWriter<readonly PackedTenant[]>): Promise<void> {
    await this.#flushes.flush(this.#ready);
    const { pack, isAll } = takeItems(this.#ready);
    this.#timer.taken(isAll);
    if (pack.length === 0) return;
    this.#making = { contents: pack, sinceMs: this.#nowMs() };
    const making = { keys: this.#options.keys, budget: this.#budget, nowMs: this.#nowMs };
    const tenants = pack.map(({ line, items }) => ({ tenant: line.tenant, line, items }));
    const made = await untilAnswered(this.#stop.signal, () => makeSegments(tenants, making));
    this.#making = undefined;
    for (const [{ tenant, items }, error] of made.refused) {
      this.#failures.note(tenant, error);
      this.#withLine(tenant, line => line.giveUp(items));
    }
    if (made.packed.length > 0) writer.write(made.segments, made.packed);
  }

  #packStored(pack: readonly PackedTenant[]): void {
    const nowMs = this.#nowMs();
    const stored = pack.map(each => storedWith(each, nowMs, this.#changes));
    for (const each of stored) this.#stored.set(each.tenant, each);
    for (const item of pack.flatMap(({ items }) => items))
      if (item.kind !== 'entry') this.#captures.free(item);
    this.#watchStore();
    for (const message of storedMessages(stored, nowMs)) this.#options.post(message);
    this.#branches.onStored(pack);
    this.#noteIdle();
    void this.#makePacks();
    void this.#beginLost(pack).catch(error => this.#failed(error));
  }

  async #beginLost(pack: readonly PackedTenant[]): Promise<void> {
    for (const line of await findLostKeys(pack, this.#options.keys, this.#stop.signal)) {
      line.damaged();
      this.#changed(line, false);
    }
  }

  #noteIdle(): void {
    if (this.#ready.size === 0 && this.#underWay.length === 0) this.#onIdle?.();
  }

  get #underWay() {
    const stored = this.#running?.writer.underWay ?? [];
    return this.#making === undefined ? stored : [...stored, this.#making];
  }

  #everySecond(): void {
    this.#watchStore();
    const { term = 0, writer, rehearsals, copiers = [] } = this.#running ?? {};
    if (this.#isAvailable && this.#running !== undefined) {
      this.#sweep.look(this.#lines);
      this.#full.advance();
      if (!this.#full.isReading) rehearsals?.advance();
    }
    const { store, copies, post } = this.#options;
    const [lines, stored, packs] = [this.#lines, this.#stored, this.#underWay];
    const verified = (tenant: string) => rehearsals?.of(tenant);
    const status = statusOf({ lines, stored, packs, verified, nowMs: this.#nowMs() });
    const further = copies.map((each, index) => ({ ...each.status(), copy: copiers[index]?.status() }));
    const stores = [store.status(), ...further];
    const failures = this.#failures.newest;
    post({
      kind: 'status',
      status: {
        ...{ ...status, stores, term, packs: writer?.newest ?? 0, gaps: this.#gaps, failures },
        ...{ damaged: this.#reasons.damaged, rehearsals: rehearsals?.status() },
      },
    });
  }

  /** Whether anything waits for the store for too long: the start, or the oldest pack. */
  #watchStore(): void {
    const sinceMs = this.#running === undefined ? this.#startedMs : this.#underWay[0]?.sinceMs;
    const isAvailable = sinceMs === undefined || this.#nowMs() - sinceMs < AWAY_AFTER_MS;
    if (isAvailable === this.#isAvailable) return;
    this.#isAvailable = isAvailable;
    this.#options.post({ kind: 'available', available: isAvailable });
  }

  /** Stores what is there, if there is time. */
  async #end(withinMs: number): Promise<void> {
    const { signal } = this.#stop;
    const deadline = setTimeout(() => this.#stop.abort(), withinMs);
    const ended = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()));
    this.#captures.request();
    // What was sent before is taken: pieces, and answers to this request.
    await Promise.race([ended, pause(END_GATHER_MS, undefined, { ref: false })]);
    if (this.#running !== undefined && !signal.aborted) {
      const isIdle = new Promise<void>(resolve => {
        this.#onIdle = resolve;
      });
      this.#timer.set(true);
      void this.#makePacks();
      await Promise.race([ended, isIdle.then(() => this.#captures.removeSpool())]);
    }
    clearTimeout(deadline);
    await this.close();
    this.#options.post({ kind: 'ended' });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#timer.close();
    this.#captures.close();
    await Promise.all([this.#running?.compaction.close(), this.#running?.rehearsals?.close()]);
    const { store, copies } = this.#options;
    await Promise.all([store, ...copies].map(each => each.close()));
  }

  #later(kind: 'changes' | 'messages', run: () => void): void {
    if (this.#early === undefined) run();
    else this.#early[kind].push(run);
  }

  #every(ms: number, run: () => void): void {
    this.#timers.push(setInterval(run, ms));
  }

  #failed(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const { code, message } = toWireError(error);
    void this.close().catch(this.#options.onFatal);
    if (isOnewriterError(error, 'REPLICA_FENCED')) this.#options.post({ kind: 'fenced', message });
    else if (isOnewriterError(error) && code !== 'INTERNAL') {
      this.#options.post({ kind: 'refused', code, message });
    } else this.#options.onFatal(error);
  }
}
