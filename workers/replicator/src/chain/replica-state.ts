import { OnewriterError } from '@onewriter/protocol';
import { ChainState } from '../format/chain-state.ts';
import type { PackId, PackIndex } from '../format/entry.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { childrenOf, packsFor } from './blocks.ts';
import { type Catalog, readCatalog } from './catalog.ts';
import { type Head, readHead } from './head.ts';
import { readAhead } from './read-ahead.ts';
import { readIndexOrEmpty } from './read-index.ts';

/*
 * What a store holds, without listing it:
 *
 *   head.json ▸ the newest catalogue ▸ packs of level 2 behind it ▸ of level 1 behind those ▸ of level 0, up to the first that is missing
 *
 * Where a compacted pack is not there any more, or not yet, those that it was made of are read instead.
 */

export interface ReplicaState {
  readonly head: Head;
  /** The newest; undefined where there is none yet. */
  readonly catalog: Omit<Catalog, 'tenants'> | undefined;
  /** Deleted tenants, too. */
  readonly tenants: ReadonlyMap<string, ChainState>;
  /** The number of level 0 that is missing: packs behind it were not acknowledged. */
  readonly next: number;
  /** The highest that was seen; 0: none. */
  readonly term: number;
  /** Packs behind the catalogue that cannot be read: what was only in them is missing. */
  readonly damaged: readonly PackId[];
}

/** Indexes that are read at the same time. */
const WINDOW = { calls: 32, bytes: Number.POSITIVE_INFINITY, bytesOf: () => 0 };
/** Numbers of level 0 that are asked for at a time behind the last one known: few, because most are not there. */
const FIRST_PROBES = 4;
const MAX_PROBES = 32;
/** A reading during which packs went away begins again: each time with a newer head. */
const MAX_TRIES = 5;

/**
 * Reads what a store holds.
 * @throws OnewriterError REPLICA_UNAVAILABLE; REPLICA_REFUSED where something is damaged, or missing
 */
export async function readState(store: ObjectStore, options: CallOptions = {}): Promise<ReplicaState> {
  for (let tries = 1; ; tries++) {
    const { head } = await readHead(store, options);
    const state = await tryRead(store, head, options);
    if (state === undefined) {
      if (tries === MAX_TRIES) throw missing(head);
      continue;
    }
    // A first missing number may be one that was compacted and expired meanwhile.
    const { head: after } = await readHead(store, options);
    if (after.compacted[1] < state.next || tries === MAX_TRIES) return state;
  }
}

/** Undefined where something is not there that the head names: another head may not name it. */
async function tryRead(
  store: ObjectStore,
  head: Head,
  options: CallOptions,
): Promise<ReplicaState | undefined> {
  const ref = head.catalogs.at(-1);
  const catalog = ref === undefined ? undefined : await readCatalog(store, ref.key, options);
  if (ref !== undefined && catalog === undefined) return undefined;
  const from = (catalog?.to ?? 0) + 1;
  const reading = new Reading(catalog);
  const compacted = packsFor(from, head.compacted[1], head.compacted);
  for await (const indexes of readAhead(compacted, WINDOW, (pack, signal) =>
    readBlock(store, pack, withSignal(options, signal)),
  )) {
    if (indexes === undefined) return undefined;
    for (const index of indexes) reading.add(index);
  }
  const next = await readTail(store, Math.max(from, head.compacted[1] + 1), reading, options);
  const { tenants, term, damaged } = reading;
  return {
    head,
    catalog: catalog && { to: catalog.to, term: catalog.term, atMs: catalog.atMs },
    tenants,
    next,
    term,
    damaged,
  };
}

/** The chains, as far as packs were read. */
class Reading {
  readonly tenants = new Map<string, ChainState>();
  readonly damaged: PackId[] = [];
  term: number;

  constructor(catalog: Catalog | undefined) {
    this.term = catalog?.term ?? 0;
    for (const [tenant, chain] of catalog?.tenants ?? []) this.tenants.set(tenant, chain);
  }

  /** Packs come in the order of their numbers. */
  add({ level, number, term, entries, damaged }: PackIndex): void {
    if (damaged) this.damaged.push({ level, number });
    // A late pack of a former leader, whose successor had begun already: it was not acknowledged.
    if (term < this.term) return;
    this.term = term;
    for (const entry of entries) {
      let chain = this.tenants.get(entry.tenant);
      if (chain === undefined) {
        chain = new ChainState();
        this.tenants.set(entry.tenant, chain);
      }
      chain.add({ pack: { level, number }, entry });
    }
  }
}

/**
 * Reads the index of a pack, or of those that it was made of where it is not there, or damaged.
 * @returns undefined where one is missing
 */
export async function readBlock(
  store: ObjectStore,
  pack: PackId,
  options: CallOptions,
): Promise<readonly PackIndex[] | undefined> {
  const index = await readIndexOrEmpty(store, pack, options);
  const instead = index && [index];
  if (index?.damaged === undefined && instead !== undefined) return instead;
  if (pack.level === 0) return instead;
  const indexes: PackIndex[] = [];
  for await (const below of readAhead(childrenOf(pack), WINDOW, (child, signal) =>
    readBlock(store, child, withSignal(options, signal)),
  )) {
    if (below === undefined) return instead;
    indexes.push(...below);
  }
  return indexes;
}

/** @returns the first number that is missing. */
async function readTail(
  store: ObjectStore,
  from: number,
  reading: Reading,
  options: CallOptions,
): Promise<number> {
  let next = from;
  for (let probes = FIRST_PROBES; ; probes = Math.min(2 * probes, MAX_PROBES)) {
    const packs = Array.from({ length: probes }, (_, index): PackId => ({ level: 0, number: next + index }));
    for await (const index of readAhead(packs, WINDOW, (pack, signal) =>
      readIndexOrEmpty(store, pack, withSignal(options, signal)),
    )) {
      if (index === undefined) return next;
      reading.add(index);
      next++;
    }
  }
}

function withSignal(options: CallOptions, signal: AbortSignal): CallOptions {
  return {
    ...options,
    signal: options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]),
  };
}

function missing(head: Head): OnewriterError {
  const message = `The replica lacks packs that its head.json names (up to ${head.compacted[1]}): it was changed by others, or expired.`;
  return new OnewriterError('REPLICA_REFUSED', message, { reason: 'missing packs' });
}
