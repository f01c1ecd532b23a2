import { setTimeout as pause } from 'node:timers/promises';
import { backOffMs, OnewriterError, type StatusReplicaCopy, toWireError } from '@onewriter/protocol';
import { packsFor, packsWithin } from '../chain/blocks.ts';
import { readCatalog } from '../chain/catalog.ts';
import { FIRST_HEAD, HEAD_KEY, type Head, readHead } from '../chain/head.ts';
import { partKey } from '../chain/read-body.ts';
import { readState } from '../chain/replica-state.ts';
import type { CompactHead } from '../compact/compact-head.ts';
import { deleteDropped } from '../compact/delete-dropped.ts';
import { type PackId, type PackIndex, packKey, type SegmentEntry } from '../format/entry.ts';
import { decodeIndex, isDamagedPack } from '../format/pack.ts';
import { DURABILITIES_KEY } from '../ship/stored-durabilities.ts';
import { LEADER_KEY } from '../ship/take-lead.ts';
import type { CallOptions, ObjectStore, PutCondition } from '../store/object-store.ts';
import { CopyLag } from './copy-lag.ts';
import { type CopyMark, readMark, writeMark } from './copy-mark.ts';

/*
 * A further store gets all objects that the first one gets, under the same names, after it has them: so nothing waits for it, and
 * it may be away for a day. It is behind by what its mark says, and catches up from the first store. What a pack or `head.json` names
 * is there before it, so that a copy can be restored from at any moment.
 */

/** Packs of level 0 between two marks: a copy that begins again copies so many a second time. */
const MARK_EVERY = 32;
/** Between two looks at `head.json` of the first store. */
const HEAD_EVERY_MS = 30_000;
const PAUSES = Object.freeze({ firstMs: 500, maxMs: 60_000 });
/** Packs that were just stored are not read again; bytes that are kept for this. */
const MAX_KEPT_BYTES = 32 * 1024 * 1024;
/** Of an object that others change while it is copied. */
const MAX_TRIES = 5;
const LEVELS = [0, 1, 2, 3] as const;
const COMPACTED = [1, 2, 3] as const;

export interface CopierOptions {
  readonly from: ObjectStore;
  readonly to: ObjectStore;
  /** Number of the newest pack that the first store has. Default: 0. */
  readonly newest?: number | undefined;
  readonly signal: AbortSignal;
  readonly onError?: ((error: unknown) => void) | undefined;
  /** Monotonic, ms; for tests. */
  readonly nowMs?: (() => number) | undefined;
}

/** Copies one store to another. */
export class StoreCopier {
  readonly #options: CopierOptions;
  readonly #call: CallOptions;
  readonly #nowMs: () => number;
  readonly #kept = new Map<number, Buffer>();
  #keptBytes = 0;
  /** Number of the newest pack that the first store is known to have. */
  #newest: number;
  #mark: CopyMark | undefined;
  #head: CompactHead = FIRST_HEAD;
  #headAtMs = Number.NEGATIVE_INFINITY;
  #markedNext = 0;
  readonly #copiedKeys = new Set<string>();
  #durabilitiesEtag = '';
  #wake: (() => void) | undefined;
  readonly #lag: CopyLag;
  #error: string | undefined;

  constructor(options: CopierOptions) {
    this.#options = options;
    this.#call = { signal: options.signal };
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#newest = options.newest ?? 0;
    this.#lag = new CopyLag(this.#newest, this.#nowMs());
  }

  /** The first store has a pack. */
  noteStored(number: number, bytes: Buffer): void {
    this.#newest = Math.max(this.#newest, number);
    this.#kept.set(number, bytes);
    this.#keptBytes += bytes.length;
    for (const [oldest, { length }] of this.#kept) {
      if (this.#keptBytes <= MAX_KEPT_BYTES) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= length;
    }
    this.#wake?.();
  }

  /** Packs that the first store has and this one does not; undefined before the first look. */
  get behind(): number | undefined {
    return this.#mark === undefined ? undefined : Math.max(0, this.#newest - this.#mark.next + 1);
  }

  status(): StatusReplicaCopy {
    const { behind: behindPacks = null } = this;
    const nowMs = this.#nowMs();
    if (this.#mark !== undefined) this.#lag.note(this.#newest, this.#mark.next, nowMs);
    return { behindPacks, behindMs: behindPacks === 0 ? 0 : this.#lag.behindMs(nowMs), error: this.#error };
  }

  /** Copies until the signal aborts. Never throws. */
  async run(): Promise<void> {
    const { signal, onError } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.copy();
        failures = 0;
        this.#error = undefined;
        await this.#untilMore();
      } catch (error) {
        if (signal.aborted) return;
        this.#error = toWireError(error).message;
        onError?.(error);
        await pause(backOffMs(++failures, PAUSES), undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Copies all that the first store has now. @throws OnewriterError of either store; what is copied stays */
  async copy(): Promise<void> {
    const { from, to } = this.#options;
    this.#mark ??= await readMark(to, this.#call);
    if (this.#nowMs() - this.#headAtMs >= HEAD_EVERY_MS || this.#mark === undefined) await this.#copyHead();
    let { next } = this.#mark!;
    const isThere = async () => {
      const bytes =
        this.#kept.get(next) ?? (await from.get(packKey({ level: 0, number: next }), this.#call))?.body;
      if (bytes === undefined) return false;
      await this.#copyPack({ level: 0, number: next }, bytes);
      return true;
    };
    while (await isThere()) {
      this.#forget(next);
      next++;
      this.#mark = { ...this.#mark!, next };
      if (next - this.#markedNext >= MARK_EVERY) await this.#writeMark();
    }
    // It expired while the copy was away: what it was compacted into stands for it.
    if (next <= this.#head.compacted[1] || next < this.#newest) await this.#copyHead(true);
  }

  async #untilMore(): Promise<void> {
    const { signal } = this.#options;
    await new Promise<void>(resolve => {
      const timer = setTimeout(done, HEAD_EVERY_MS);
      function done() {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      }
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
      if (this.#newest >= (this.#mark?.next ?? 0)) done();
    });
    this.#wake = undefined;
  }

  /** Copies what the newest `head.json` names and the copy lacks, then itself. */
  async #copyHead(catchesUp = false): Promise<void> {
    const { from, to } = this.#options;
    const found = await from.get(HEAD_KEY, this.#call);
    const { head } = await readHead(from, this.#call);
    const there = await readHead(to, this.#call);
    const before = this.#mark === undefined ? undefined : there.head;
    this.#headAtMs = this.#nowMs();
    this.#head = head;
    if (this.#mark === undefined || catchesUp) await this.#copyBase(head);
    await this.#copyDurabilities();
    if (found === undefined || found.etag === this.#mark!.headEtag) return;
    for (const pack of newPacks(before ?? FIRST_HEAD, head)) await this.#copyStored(pack);
    for (const { key } of head.catalogs) {
      if (before?.catalogs.some(catalog => catalog.key === key)) continue;
      await this.#copyObject(key);
    }
    await this.#copyState(LEADER_KEY);
    if (before !== undefined) await this.#deleteGone(before, head);
    const condition: PutCondition =
      there.etag === undefined ? { kind: 'new' } : { kind: 'etag', etag: there.etag };
    const put = await to.put(HEAD_KEY, Buffer.from(JSON.stringify(head)), { ...this.#call, condition });
    // Another copier has a newer one, perhaps; or this is a retry of what was done. The next look reads both again.
    if (put.kind === 'exists') throw changedMeanwhile(HEAD_KEY, to.address);
    this.#mark = { ...this.#mark!, headEtag: found.etag };
    await this.#writeMark();
  }

  async #copyDurabilities(): Promise<void> {
    const { from, to } = this.#options;
    const found = await from.get(DURABILITIES_KEY, this.#call);
    if (found === undefined || found.etag === this.#durabilitiesEtag) return;
    await to.put(DURABILITIES_KEY, found.body, this.#call);
    this.#durabilitiesEtag = found.etag;
  }

  /** What the first store deleted between two of its heads. */
  async #deleteGone(before: CompactHead, now: CompactHead): Promise<void> {
    const named = (head: CompactHead) => [...head.catalogs, ...(head.dropping?.catalogs ?? [])];
    const still = new Set(named(now).map(({ key }) => key));
    const catalogs = named(before).filter(({ key }) => !still.has(key));
    const [from, kept] = [deletedBefore(before), deletedBefore(now)];
    if (catalogs.length === 0 && LEVELS.every(level => from[level] === kept[level])) return;
    const head = { ...now, kept, pinned: before.pinned };
    await deleteDropped(this.#options.to, head, { from, catalogs }, this.#call);
  }

  /**
   * What the state of the first store is made of, and all behind it: for a copy that begins, or has missed what expired.
   * The mark is written when it is there.
   */
  async #copyBase(head: Head): Promise<void> {
    const { from } = this.#options;
    const catalog = head.catalogs.at(-1);
    const chains = catalog === undefined ? undefined : await readCatalog(from, catalog.key, this.#call);
    const needed = new Map<string, PackId>();
    for (const { places } of chains?.tenants.values() ?? []) {
      for (const { pack, entry } of places) {
        needed.set(packKey(pack), pack);
        await this.#copyParts(entry);
      }
    }
    for (const pack of packsFor((chains?.to ?? 0) + 1, head.compacted[1], head.compacted))
      needed.set(packKey(pack), pack);
    for (const pack of needed.values()) await this.#copyStored(pack);
    const next = Math.max(head.compacted[1] + 1, this.#mark?.next ?? 1);
    // All that the chains need is there, or the state cannot be read at all.
    await readState(from, this.#call);
    this.#mark = { format: 1, of: from.address, next, headEtag: this.#mark?.headEtag ?? '' };
    await this.#writeMark();
  }

  /** With what lies beside it: merging makes parts, too. One that expired since is not needed any more. */
  async #copyStored(pack: PackId): Promise<void> {
    const found = await this.#options.from.get(packKey(pack), this.#call);
    if (found !== undefined) await this.#copyPack(pack, found.body);
  }

  async #copyPack(pack: PackId, bytes: Buffer): Promise<void> {
    for (const entry of entriesOf(bytes)) await this.#copyParts(entry);
    await this.#put(packKey(pack), bytes);
  }

  async #copyParts({ tenant, key, parts }: SegmentEntry): Promise<void> {
    // A key of the tenant's own is an object, too.
    if (key.startsWith('t') && !this.#copiedKeys.has(key)) {
      await this.#copyState(`keys/${tenant}.json`);
      this.#copiedKeys.add(key);
    }
    for (let part = 0; part < (parts?.count ?? 0); part++) await this.#copyPart(partKey(parts!.prefix, part));
  }

  /** Packs of all levels name the same part, which is large and never changes: it is not read again. */
  async #copyPart(key: string): Promise<void> {
    const { to } = this.#options;
    const there = await to.get(key, { ...this.#call, range: { from: 0, length: 1 } });
    if (there === undefined) await this.#copyObject(key);
  }

  async #copyObject(key: string): Promise<void> {
    const found = await this.#options.from.get(key, this.#call);
    // It expired since: nothing needs it any more.
    if (found !== undefined) await this.#put(key, found.body);
  }

  /** An object that changes, and may be changed in the copy, too: a key that is erased in both while it is copied stays erased. */
  async #copyState(key: string): Promise<void> {
    const { from, to } = this.#options;
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const there = await to.get(key, this.#call);
      const found = await from.get(key, this.#call);
      if (found === undefined || there?.body.equals(found.body)) return;
      const condition: PutCondition =
        there === undefined ? { kind: 'new' } : { kind: 'etag', etag: there.etag };
      const put = await to.put(key, found.body, { ...this.#call, condition });
      // It may have changed in the first store before the copy had it.
      const now = put.kind === 'stored' ? await from.get(key, this.#call) : undefined;
      if (now?.etag === found.etag) return;
    }
    throw changedMeanwhile(key, to.address);
  }

  async #put(key: string, bytes: Buffer): Promise<void> {
    const { to } = this.#options;
    const put = await to.put(key, bytes, { ...this.#call, condition: { kind: 'new' } });
    if (put.kind === 'stored') return;
    const there = await to.get(key, this.#call);
    if (there === undefined || there.body.equals(bytes)) return;
    throw new OnewriterError(
      'REPLICA_REFUSED',
      `${to.address} has another ${key} than the store it copies.`,
      {
        reason: 'not a copy',
      },
    );
  }

  #forget(number: number): void {
    this.#keptBytes -= this.#kept.get(number)?.length ?? 0;
    this.#kept.delete(number);
  }

  async #writeMark(): Promise<void> {
    await writeMark(this.#options.to, this.#mark!, this.#call);
    this.#markedNext = this.#mark!.next;
  }
}

/** None of one that cannot be read: it is copied as it is. */
function entriesOf(pack: Buffer): PackIndex['entries'] {
  try {
    return (decodeIndex(pack, pack.length) as PackIndex).entries;
  } catch (error) {
    if (isDamagedPack(error)) return [];
    throw error;
  }
}

function changedMeanwhile(key: string, address: string): OnewriterError {
  const message = `${key} of ${address} changed while it was copied: two brokers copy to it, or a reply was lost.`;
  return new OnewriterError('REPLICA_UNAVAILABLE', message);
}

/** Compacted packs that one head has and the other had not. */
function newPacks(before: Head, now: Head): PackId[] {
  return COMPACTED.flatMap(level => [
    ...packsWithin(level, Math.max(before.compacted[level] + 1, now.kept[level]), now.compacted[level]),
  ]);
}

/** The first numbers that are still there: what the head no longer names is deleted later. */
function deletedBefore({ kept, dropping }: CompactHead): Head['kept'] {
  return dropping?.from ?? kept;
}
