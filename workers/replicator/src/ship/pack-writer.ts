import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { backOffMs, type ErrorCode, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import { packKey } from '../format/entry.ts';
import { decodeIndex, encodePack, type PackedSegment } from '../format/pack.ts';
import type { ObjectStore } from '../store/object-store.ts';

/**
 * Packs whose PUT may be under way. A start takes as many numbers for itself, so that no late PUT of a former leader finds a free one
 * (ADR 0068).
 */
export const PACKS_UNDER_WAY = 4;
const PAUSES = Object.freeze({ firstMs: 200, maxMs: 10_000 });

/** A pack that is being stored. */
interface PackUnderWay<T> {
  readonly number: number;
  readonly contents: T;
  readonly bytes: Buffer;
  readonly sinceMs: number;
  isStored: boolean;
}

export interface PackWriterOptions<T> {
  readonly store: ObjectStore;
  readonly term: number;
  /** The number of the first pack. */
  readonly next: number;
  /** Packs are reported in the order of their numbers: a pack counts only if all before it are stored. */
  readonly onStored: (contents: T, number: number, bytes: Buffer) => void;
  /** REPLICA_FENCED, or what must not happen. No pack is stored after it. */
  readonly onFailed: (error: unknown) => void;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
}

/** Stores packs under numbers without a hole, each until it is stored. */
export class PackWriter<T> {
  readonly #options: PackWriterOptions<T>;
  readonly #stop = new AbortController();
  readonly #underWay: PackUnderWay<T>[] = [];
  #next: number;

  constructor(options: PackWriterOptions<T>) {
    this.#options = options;
    this.#next = options.next;
    setMaxListeners(0, this.#stop.signal);
    options.signal.addEventListener('abort', () => this.#stop.abort(), { once: true });
  }

  /** Of the newest pack, stored or not. */
  get newest(): number {
    return this.#next - 1;
  }

  /** Up to this number all are stored. */
  get stored(): number {
    return (this.#underWay[0]?.number ?? this.#next) - 1;
  }

  get isFree(): boolean {
    return this.#underWay.length < PACKS_UNDER_WAY && !this.#stop.signal.aborted;
  }

  /** What is being stored, the oldest first. */
  get underWay(): readonly { readonly contents: T; readonly sinceMs: number }[] {
    return this.#underWay;
  }

  /** @param contents given back when they are stored */
  write(segments: readonly PackedSegment[], contents: T): void {
    assert(this.isFree, 'Too many packs are under way.');
    const { term, nowMs } = this.#options;
    const number = this.#next++;
    const { bytes } = encodePack({ level: 0, number, term, writtenAtMs: nowMs() }, segments);
    const pack = { number, contents, bytes, sinceMs: nowMs(), isStored: false };
    this.#underWay.push(pack);
    this.#store(pack).catch((error: unknown) => this.#fail(error));
  }

  async #store(pack: PackUnderWay<T>): Promise<void> {
    const { store, term } = this.#options;
    const { number, bytes } = pack;
    await untilAnswered(this.#stop.signal, () => putPack(store, number, bytes, term, this.#stop.signal));
    pack.isStored = true;
    while (this.#underWay[0]?.isStored) {
      const first = this.#underWay.shift()!;
      this.#options.onStored(first.contents, first.number, first.bytes);
    }
  }

  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#options.onFailed(error);
  }
}

/**
 * Stores a pack under a number that must be free.
 * @throws OnewriterError REPLICA_FENCED where a newer leader has the number; INTERNAL where an older one has, which
 * {@link PACKS_UNDER_WAY} excludes: then what is stored has to be read again.
 */
export async function putPack(
  store: ObjectStore,
  number: number,
  bytes: Buffer,
  term: number,
  signal: AbortSignal,
): Promise<void> {
  const found = await putOrRead(store, number, bytes, signal);
  if (found === undefined) return;
  if (found.term > term) throw fenced(found.term);
  throw new OnewriterError('INTERNAL', `Pack ${number} of the replica was stored by term ${found.term}.`);
}

/** @returns undefined if it is stored; the index of the pack that has its number otherwise. */
export async function putOrRead(store: ObjectStore, number: number, bytes: Buffer, signal: AbortSignal) {
  const key = packKey({ level: 0, number });
  const put = await store.put(key, bytes, { condition: { kind: 'new' }, signal });
  if (put.kind === 'stored') return undefined;
  const found = await store.get(key, { signal });
  if (found === undefined) {
    throw new OnewriterError('REPLICA_UNAVAILABLE', `The store has an object ${key}, and has not.`);
  }
  // The reply of an earlier attempt was lost.
  if (found.body.equals(bytes)) return undefined;
  const index = decodeIndex(found.body, found.size);
  assert(!('needs' in index), 'A whole pack has its index.');
  return index;
}

export function fenced(term: number): OnewriterError {
  return new OnewriterError(
    'REPLICA_FENCED',
    `Another broker writes to the store of the replicas since (term ${term}). This one stops leading.`,
  );
}

/**
 * Repeats a call until the store answers it: a store that is away, or refuses for a while, loses nothing.
 * @param codes of errors that may pass
 */
export async function untilAnswered<T>(
  signal: AbortSignal,
  call: () => Promise<T>,
  codes: readonly ErrorCode[] = ['REPLICA_UNAVAILABLE', 'REPLICA_REFUSED'],
): Promise<T> {
  for (let failures = 1; ; failures++) {
    signal.throwIfAborted();
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      if (!codes.some(code => isOnewriterError(error, code))) throw error;
    }
    await pause(backOffMs(failures, PAUSES), undefined, { signal });
  }
}
