import assert from 'node:assert/strict';
import { OnewriterError } from '@onewriter/protocol';
import { childrenOf, numbersOf, packsFor } from '../chain/blocks.ts';
import { type Catalog, catalogKey, encodeCatalog, readCatalog } from '../chain/catalog.ts';
import type { Head } from '../chain/head.ts';
import { readAhead } from '../chain/read-ahead.ts';
import { readIndex, readIndexOrEmpty } from '../chain/read-index.ts';
import { readBlock, readState } from '../chain/replica-state.ts';
import { ChainState } from '../format/chain-state.ts';
import { type PackId, type PackIndex, packKey } from '../format/entry.ts';
import type { Keyring } from '../format/keyring.ts';
import { encodePack } from '../format/pack.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { readContents } from './block-contents.ts';
import { buildSegments } from './build-pack.ts';
import { chooseCarried, tenantsOnExpired } from './carry.ts';
import { needsFull } from './chain-limits.ts';
import { type Damaged, type Dropping, HeadWriter } from './compact-head.ts';
import { deleteDropped } from './delete-dropped.ts';
import { groupsOf } from './merge-groups.ts';
import { nextBlock } from './next-block.ts';
import { PackSources } from './pack-sources.ts';
import { dropExpired, passGrace, steadyNow } from './retention.ts';

/*
 * Compaction, in steps that may end anywhere and be repeated; until the last one no reader sees what the others stored:
 *
 *   read the packs of a block ▸ store what is too large for a pack ▸ store the pack, if it is not there ▸ level 3: store the catalogue ▸
 *   head.json by compare-and-set
 */

/** Pages that are in memory at a time to be merged, bytes. */
const MAX_MERGED_BYTES = 32 * 1024 * 1024;
const SEEN_EVERY_MS = 15 * 60_000;
const NO_DAMAGE: Damaged = Object.freeze({ tenants: [], packs: [] });
const WINDOW = { calls: 16, bytes: Number.POSITIVE_INFINITY, bytesOf: () => 0 };

export interface CompactOptions {
  readonly store: ObjectStore;
  readonly keys: Keyring;
  /** Of the leader that it works for. */
  readonly term: number;
  /** How long states can be gone back to, ms. */
  readonly retentionMs: number;
  readonly nowMs: number;
  /** Since the last run of this leader, on the monotonic clock; 0 for its first. Default: the clock is right. */
  readonly elapsedMs?: number | undefined;
  /** Ends after so many packs. Default: all that can be made. */
  readonly maxPacks?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Compacted {
  /** Packs that were made. */
  readonly packs: readonly PackId[];
  /** Tenants that should have a new full segment. */
  readonly needsFull: readonly string[];
  /** Something would expire, and branches still need it: they are among those. */
  readonly isExpiryHeld: boolean;
  readonly damaged: Damaged;
}

/**
 * Makes the packs of higher levels that can be made, and deletes what is no longer kept.
 * @throws OnewriterError REPLICA_FENCED where a newer leader compacts; REPLICA_REFUSED where packs or the catalogue are gone,
 * or of a newer version; REPLICA_UNAVAILABLE
 */
export async function compactOnce(options: CompactOptions): Promise<Compacted> {
  const call: CallOptions = { signal: options.signal };
  const head = await HeadWriter.open(options.store, options.term, call);
  const { damaged: unreported } = head.head;
  if (unreported !== undefined) {
    // Of a run that failed or was ended. All else can wait, and may fail again.
    await head.change({ damaged: undefined });
    return { packs: [], needsFull: [], isExpiryHeld: false, damaged: unreported };
  }
  const compactor = new Compactor(options, call, head);
  const packs = await compactor.makePacks();
  const branches = await compactor.expire();
  // Last: its leader hears of it at once.
  if (head.head.damaged !== undefined) await head.change({ damaged: undefined });
  const needsFull = [...new Set([...compactor.needsFull(), ...branches])];
  return { packs, needsFull, isExpiryHeld: branches.length > 0, damaged: compactor.damaged };
}

class Compactor {
  readonly #options: CompactOptions;
  readonly #call: CallOptions;
  readonly #head: HeadWriter;
  /** All chains as of the last pack of level 1, and the highest term up to there. */
  #tenants = new Map<string, ChainState>();
  #term = 0;
  readonly #nowMs: number;
  /** As of now. */
  readonly #dropping: Dropping | undefined;
  readonly #damagedTenants = new Set<string>();
  readonly #damagedPacks: string[] = [];

  constructor(options: CompactOptions, call: CallOptions, head: HeadWriter) {
    this.#options = options;
    this.#call = call;
    this.#head = head;
    const { nowMs, elapsedMs = Number.POSITIVE_INFINITY } = options;
    this.#nowMs = steadyNow(head.head, nowMs, elapsedMs);
    this.#dropping = passGrace(head.head, elapsedMs);
  }

  async makePacks(): Promise<readonly PackId[]> {
    await this.#readTenants();
    const packs: PackId[] = [];
    while (packs.length < (this.#options.maxPacks ?? Number.POSITIVE_INFINITY)) {
      this.#options.signal?.throwIfAborted();
      const { catalogs, compacted } = this.#head.head;
      const pack = nextBlock(compacted);
      const index = await this.#makePack(pack);
      if (index === undefined) break;
      if (pack.level === 1) this.#add(index);
      const added = pack.level === 3 ? [await this.#makeCatalog(index)] : [];
      await this.#head.change({
        compacted: { ...compacted, [pack.level]: numbersOf(pack).last },
        catalogs: [...catalogs, ...added],
        seenMs: this.#nowMs,
        dropping: this.#dropping,
      });
      packs.push(pack);
    }
    // Chains have fewer segments now.
    if (packs.some(({ level }) => level > 1)) await this.#readTenants();
    return packs;
  }

  needsFull(): readonly string[] {
    const isLarge = (chain: ChainState) => needsFull(chain, this.#nowMs);
    const large = [...this.#tenants].filter(([, chain]) => isLarge(chain)).map(([tenant]) => tenant);
    const old = tenantsOnExpired(this.#tenants, this.#head.head.kept[3]);
    return [...new Set([...large, ...old])];
  }

  get damaged(): Damaged {
    return { tenants: [...this.#damagedTenants], packs: this.#damagedPacks };
  }

  /** @returns branches that still need what would expire */
  async expire(): Promise<readonly string[]> {
    const { store, retentionMs } = this.#options;
    const nowMs = this.#nowMs;
    const { seenMs = 0 } = this.#head.head;
    // Where nothing was compacted for long.
    if (nowMs - seenMs >= SEEN_EVERY_MS) await this.#head.change({ seenMs: nowMs, dropping: this.#dropping });
    const isOver = this.#dropping?.leftMs === 0;
    if (!isOver && dropExpired(this.#head.head, retentionMs, nowMs) === undefined) return [];
    // A branch needs what its parent was, wherever that lies, until it has a full segment of its own.
    const { tenants } = await readState(store, this.#call);
    const branches = [...tenants].filter(([, { places }]) => places[0]?.entry.kind === 'base');
    if (branches.length > 0) return branches.map(([tenant]) => tenant);
    const { dropping } = this.#head.head;
    if (isOver && dropping !== undefined) {
      const pinned = await deleteDropped(store, this.#head.head, dropping, this.#call);
      await this.#head.change({ dropping: undefined, pinned });
    }
    const dropped = dropExpired(this.#head.head, retentionMs, nowMs);
    if (dropped !== undefined) await this.#head.change(dropped);
    return [];
  }

  /** @returns undefined where the packs of the block are not all there yet */
  async #makePack(pack: PackId): Promise<PackIndex | undefined> {
    const { store, keys } = this.#options;
    const children = childrenOf(pack);
    // Asks for the newest first: in most cases it is the one that is missing.
    const newest = pack.level === 1 ? children.at(-1) : undefined;
    if (newest !== undefined && (await readIndexOrEmpty(store, newest, this.#call)) === undefined)
      return undefined;
    // One that was ended before it changed the head has made it: what it stored beside the pack would be stored twice.
    const made = await readIndexOrEmpty(store, pack, this.#call);
    if (made !== undefined && !made.damaged) return made;
    const sources = new PackSources(store, this.#call);
    const indexes = await sources.readIndexes(children);
    if (indexes === undefined) {
      if (pack.level === 1) return undefined;
      throw missingPacks(pack);
    }
    for (const index of indexes) if (index.damaged) this.#damagedPacks.push(packKey(index));
    const before = pack.level === 1 ? { tenants: this.#tenants, term: this.#term } : undefined;
    const contents = readContents(indexes, before);
    const groups = [...contents.tenants.values()].flatMap(places => groupsOf(places, MAX_MERGED_BYTES));
    if (pack.level === 3) {
      const { tenants } = (await this.#newestCatalog()) ?? { tenants: new Map() };
      groups.push(...chooseCarried(tenants, this.#head.head.kept[3], contents.tenants));
    }
    const onDamaged = (tenant: string) => this.#damagedTenants.add(tenant);
    const building = { store, keys, sources, pack, call: this.#call, onDamaged };
    const segments = await buildSegments(groups, building);
    await this.#noteDamage();
    const { superseded, writtenAtMs } = contents;
    const { bytes, index } = encodePack({ ...pack, term: contents.term, writtenAtMs, superseded }, segments);
    // No head names a damaged one yet: it is replaced.
    const condition = made === undefined ? ({ kind: 'new' } as const) : undefined;
    const put = await store.put(packKey(pack), bytes, { ...this.#call, condition });
    if (put.kind === 'stored') return index;
    // Another one was quicker: made of the same packs.
    const present = await readIndex(store, pack, this.#call);
    assert(present, 'A pack of the block that is made next does not expire.');
    return present;
  }

  /** Before the pack is there: a run that was ended behind it is not followed by one that reads what it is made of. */
  async #noteDamage(): Promise<void> {
    const count = ({ tenants, packs }: Damaged) => tenants.length + packs.length;
    const { damaged } = this;
    const { damaged: noted = NO_DAMAGE } = this.#head.head;
    if (count(damaged) > count(noted)) await this.#head.change({ damaged });
  }

  async #makeCatalog({ number, term, writtenAtMs: atMs, entries }: PackIndex) {
    const pack: PackId = { level: 3, number };
    const before = await this.#newestCatalog();
    const tenants = new Map(before?.tenants);
    for (const entry of entries) addTo(tenants, pack, entry);
    for (const tenant of await this.#findForgotten(tenants)) tenants.delete(tenant);
    const { last: to } = numbersOf(pack);
    const key = catalogKey(to);
    await this.#options.store.put(key, await encodeCatalog({ to, term, atMs, tenants }), this.#call);
    return { to, atMs, key };
  }

  /** Tenants that were deleted before all that can be gone back to. */
  async #findForgotten(tenants: ReadonlyMap<string, ChainState>): Promise<readonly string[]> {
    const { catalogs, kept } = this.#head.head;
    const [oldest] = catalogs;
    if (oldest === undefined || Math.min(...Object.values(kept)) <= oldest.to) return [];
    const then = await readCatalog(this.#options.store, oldest.key, this.#call);
    assert(then, 'The oldest catalogue is there as long as the head names it.');
    return [...then.tenants.keys()].filter(tenant => {
      const [before, now] = [then.tenants.get(tenant)!, tenants.get(tenant)];
      return !before.isAlive && now?.isAlive === false && now.pos === before.pos;
    });
  }

  async #newestCatalog(): Promise<Catalog | undefined> {
    const ref = this.#head.head.catalogs.at(-1);
    if (ref === undefined) return undefined;
    const catalog = await readCatalog(this.#options.store, ref.key, this.#call);
    assert(catalog, 'The newest catalogue does not expire.');
    return catalog;
  }

  async #readTenants(): Promise<void> {
    const { compacted }: Head = this.#head.head;
    const catalog = await this.#newestCatalog();
    this.#tenants = new Map(catalog?.tenants);
    this.#term = catalog?.term ?? 0;
    const packs = packsFor((catalog?.to ?? 0) + 1, compacted[1], compacted);
    const { store } = this.#options;
    for await (const indexes of readAhead(packs, WINDOW, pack => readBlock(store, pack, this.#call))) {
      if (indexes === undefined) throw missingPacks({ level: 1, number: 0 });
      for (const index of indexes) this.#add(index);
    }
  }

  #add({ level, number, term, entries }: PackIndex): void {
    if (term < this.#term) return;
    this.#term = term;
    for (const entry of entries) addTo(this.#tenants, { level, number }, entry);
  }
}

function addTo(tenants: Map<string, ChainState>, pack: PackId, entry: PackIndex['entries'][number]): void {
  const chain = tenants.get(entry.tenant) ?? new ChainState();
  tenants.set(entry.tenant, chain);
  chain.add({ pack, entry });
}

function missingPacks({ level }: PackId): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `The replica lacks packs of level ${level - 1} that its head.json names: it was changed by others.`,
    { reason: 'missing packs' },
  );
}
