import { type HistoryPoint, OnewriterError } from '@onewriter/protocol';
import { ChainState } from '../format/chain-state.ts';
import type { SegmentEntry, SegmentPlace } from '../format/entry.ts';
import type { Keyring } from '../format/keyring.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { packsFor } from './blocks.ts';
import { type Catalog, readCatalog } from './catalog.ts';
import { type ChainSearch, type FoundChain, followPacks, followPlaces } from './find-chain.ts';
import { coverOf, isExact, isWithin, type Point } from './point.ts';
import { bodiesOf, bytesOf, readBody } from './read-body.ts';
import { type ReplicaState, readState } from './replica-state.ts';
import { historyOf } from './tenant-history.ts';

/** A segment of a plan. */
export interface PlannedSegment extends SegmentPlace {
  /** Only its commits up to this `pos` are taken; undefined: all. */
  readonly cutAt?: number | undefined;
}

/** The segments that make a tenant's file at a point: one `full` first, then `pages` without a hole. */
export interface RestorePlan {
  readonly tenant: string;
  /** What was found for the point. */
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
  /** Segments of the tenant it began as come first: of a branch. */
  readonly segments: readonly PlannedSegment[];
  /** Sum of stored bytes, and requests to read them. */
  readonly bytes: number;
  readonly requests: number;
}

/** Reads what a store has of a group. It only reads, so it may run anywhere, beside a broker or without one. */
export interface ReplicaReader {
  readonly store: ObjectStore;
  readonly keys: Keyring;
  /** What the store had when this reader looked first: all else starts from there. */
  state(): Promise<ReplicaState>;
  /** The newest segment of each tenant, of deleted ones too. */
  tenants(): Promise<readonly SegmentEntry[]>;
  /** @throws OnewriterError POSITION_UNKNOWN with the points that there are. */
  plan(tenant: string, point: Point): Promise<RestorePlan>;
  /** The newest first. */
  history(tenant: string, limit: number): Promise<readonly HistoryPoint[]>;
}

/** A branch of a branch, and so on: more is no history. */
const MAX_BASES = 32;

/** @param options of each call of the store */
export function openReplicaReader(
  store: ObjectStore,
  keys: Keyring,
  options: CallOptions = {},
): ReplicaReader {
  return new StoreReader(store, keys, options);
}

class StoreReader implements ReplicaReader {
  readonly store: ObjectStore;
  readonly keys: Keyring;
  readonly #options: CallOptions;
  #state: Promise<ReplicaState> | undefined;
  /** The one that was read last: the plans of a tenant want it again. */
  #catalog: { readonly key: string; readonly catalog: Catalog | undefined } | undefined;

  constructor(store: ObjectStore, keys: Keyring, options: CallOptions) {
    this.store = store;
    this.keys = keys;
    this.#options = options;
  }

  state(): Promise<ReplicaState> {
    if (this.#state === undefined) {
      const state = readState(this.store, this.#options);
      state.catch(() => {
        this.#state = undefined;
      });
      this.#state = state;
    }
    return this.#state;
  }

  async tenants(): Promise<readonly SegmentEntry[]> {
    const { tenants } = await this.state();
    return [...tenants.values()].flatMap(({ last }) => last ?? []);
  }

  async plan(tenant: string, point: Point): Promise<RestorePlan> {
    const found = await this.#find(tenant, point);
    const end = await this.#endOf(found, point);
    const { chain } = found;
    if (end === undefined || !isExact(end, point)) throw unknownPoint(tenant, point, chain, found.after);
    const places: PlannedSegment[] = [...chain.places];
    if (end.cut !== undefined) places.push({ ...end.cut, cutAt: end.pos });
    const segments = await this.#withBases(places);
    const bodies = segments.flatMap(bodiesOf);
    return {
      tenant,
      ...{ pos: end.pos, commitSeq: end.commitSeq, atMs: end.atMs, segments },
      bytes: bodies.reduce((sum, body) => sum + bytesOf(body), 0),
      requests: bodies.length,
    };
  }

  async history(tenant: string, limit: number): Promise<readonly HistoryPoint[]> {
    const state = await this.state();
    return historyOf(state, tenant, limit, ref => this.#readCatalog(ref.key));
  }

  async #find(tenant: string, point: Point): Promise<FoundChain> {
    const state = await this.state();
    const newest = state.tenants.get(tenant);
    const termAt = async (number: number) => {
      const ref = state.head.catalogs.find(({ to }) => to === number);
      return (ref && (await this.#readCatalog(ref.key))?.term) ?? 0;
    };
    const search: ChainSearch = { store: this.store, tenant, point, termAt, options: this.#options };
    if (newest === undefined) return { chain: new ChainState() };
    const [first] = newest.places;
    if (point.kind === 'newest' || isPast(newest, point)) return { chain: newest };
    if (first !== undefined && coverOf(first.entry, point) === 'within') {
      const chain = new ChainState();
      return (await followPlaces(search, chain, newest.places)) ?? { chain };
    }
    const older = await this.#olderChain(state, search);
    const packs = packsFor(older.from, older.to, state.head.compacted);
    return (await followPacks(search, older.chain, packs, older.term)) ?? { chain: older.chain };
  }

  /** The newest catalogue in which the tenant's state is not behind the point, and the numbers up to the next one. */
  async #olderChain(state: ReplicaState, { tenant, point }: ChainSearch) {
    const { catalogs, kept, compacted } = state.head;
    let chain = new ChainState();
    let [term, from] = [0, Math.min(...Object.values(kept))];
    let [low, high] = [0, catalogs.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const catalog = await this.#readCatalog(catalogs[middle]!.key);
      const then = catalog?.tenants.get(tenant);
      if (then !== undefined && !isPast(then, point) && then.last !== undefined) {
        high = middle;
        continue;
      }
      low = middle + 1;
      chain = new ChainState(then?.places, then?.last);
      term = catalog?.term ?? term;
      from = (catalog?.to ?? 0) + 1;
    }
    const to = catalogs[low]?.to ?? Math.max(state.next - 1, compacted[1]);
    return { chain, term, from, to };
  }

  async #readCatalog(key: string): Promise<Catalog | undefined> {
    if (this.#catalog?.key !== key)
      this.#catalog = { key, catalog: await readCatalog(this.store, key, this.#options) };
    return this.#catalog.catalog;
  }

  /** The last commit of what was found; undefined where there is no file. */
  async #endOf({ chain, cut }: FoundChain, point: Point): Promise<PlanEnd | undefined> {
    if (cut !== undefined) {
      const { header } = await readBody(this.store, this.keys, cut, this.#options);
      const last = header.commits.findLastIndex(commit => isWithin(commit, point));
      const commit = header.commits[last];
      if (commit !== undefined) return { ...commit, cut };
    }
    if (!chain.isAlive || chain.last === undefined) return undefined;
    const { max, lastSeq, lastMs } = chain.last;
    return { pos: max, commitSeq: lastSeq, atMs: lastMs };
  }

  /** With what other tenants had been in the place of what says only that. */
  async #withBases(places: readonly PlannedSegment[], depth = 0): Promise<readonly PlannedSegment[]> {
    const base = places[0]?.entry.base;
    if (base === undefined) return places;
    const { tenant } = places[0]!.entry;
    if (depth === MAX_BASES) {
      throw new OnewriterError('REPLICA_REFUSED', `Tenant ${tenant} is a branch of itself in the replica.`, {
        tenant,
      });
    }
    const point: Point = { kind: 'pos', pos: base.pos };
    const found = await this.#find(base.tenant, point);
    const end = await this.#endOf(found, point);
    if (end === undefined || end.pos !== base.pos)
      throw unknownPoint(base.tenant, point, found.chain, found.after);
    const before: PlannedSegment[] = [...found.chain.places];
    if (end.cut !== undefined) before.push({ ...end.cut, cutAt: end.pos });
    return [...(await this.#withBases(before, depth + 1)), ...places.slice(1)];
  }
}

interface PlanEnd {
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
  readonly cut?: SegmentPlace | undefined;
}

/** Whether all of a chain is at or before a point. */
function isPast({ last }: ChainState, point: Point): boolean {
  return last !== undefined && coverOf(last, point) === 'within';
}

function unknownPoint(
  tenant: string,
  point: Point,
  chain: ChainState,
  after: SegmentPlace | undefined,
): OnewriterError {
  const before = chain.last;
  const near = [
    before === undefined ? undefined : describe(before.lastSeq, before.lastMs),
    after === undefined ? undefined : describe(after.entry.lastSeq, after.entry.lastMs),
  ].filter(text => text !== undefined);
  const wasDeleted = before?.kind === 'deleted' ? ' It was deleted.' : '';
  const message = `The replica has no ${describePoint(point)} of tenant ${tenant}.${wasDeleted} ${
    near.length === 0 ? 'It has nothing of it there.' : `Nearest: ${near.join('; ')}.`
  }`;
  return new OnewriterError('POSITION_UNKNOWN', message, {
    tenant,
    ...(before === undefined ? {} : { before: { commitSeq: before.lastSeq, atMs: before.lastMs } }),
    ...(after === undefined ? {} : { after: { commitSeq: after.entry.lastSeq, atMs: after.entry.lastMs } }),
  });
}

function describe(commitSeq: number, ms: number): string {
  return `commit ${commitSeq} (${new Date(ms).toISOString()})`;
}

function describePoint(point: Point): string {
  switch (point.kind) {
    case 'newest':
      return 'state';
    case 'commitSeq':
      return `commit ${point.commitSeq}`;
    case 'pos':
      return `position ${point.pos}`;
    case 'time':
      return `state at ${new Date(point.ms).toISOString()}`;
    default:
      return point satisfies never;
  }
}
