import { OnewriterError } from '@onewriter/protocol';
import { type CatalogRef, HEAD_KEY, type Head, readHead } from '../chain/head.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** The head with what only the one that compacts needs. */
export interface CompactHead extends Head {
  /** What the head no longer names, and a restore that began before may still read; deleted after the grace. */
  readonly dropping?: Dropping | undefined;
  /** By which what is too old was last looked for: see steadyNow of retention.ts. */
  readonly seenMs?: number | undefined;
  /** Numbers of packs of level 3 before `kept[3]` that chains still need. */
  readonly pinned?: readonly number[] | undefined;
  /** What was found and not reported yet: those who look for it later read packs that are made of it. */
  readonly damaged?: Damaged | undefined;
}

/** What the store changed since it was stored. It is kept as it is, and all else is compacted. */
export interface Damaged {
  /** Tenants with a damaged segment. */
  readonly tenants: readonly string[];
  /** Packs that cannot be read: which tenants were in them is not known. */
  readonly packs: readonly string[];
}

export interface Dropping {
  /** Of the grace, ms. */
  readonly leftMs: number;
  /** `kept` as it was: packs from there to `kept` go. */
  readonly from: Head['kept'];
  readonly catalogs: readonly CatalogRef[];
}

/** The head, changed only by compare-and-set and only by one whose term is not lower. */
export class HeadWriter {
  readonly #store: ObjectStore;
  readonly #term: number;
  readonly #options: CallOptions;
  #head: CompactHead;
  #etag: string | undefined;

  private constructor(
    store: ObjectStore,
    term: number,
    options: CallOptions,
    read: { readonly head: CompactHead; readonly etag: string | undefined },
  ) {
    this.#store = store;
    this.#term = term;
    this.#options = options;
    this.#head = read.head;
    this.#etag = read.etag;
  }

  /** @throws OnewriterError REPLICA_FENCED where a newer leader compacts */
  static async open(store: ObjectStore, term: number, options: CallOptions): Promise<HeadWriter> {
    const read = await readHead(store, options);
    if (read.head.term > term) throw fenced();
    return new HeadWriter(store, term, options, read);
  }

  get head(): CompactHead {
    return this.#head;
  }

  /** @throws OnewriterError REPLICA_FENCED where another one changed it; then all that follows is not done */
  async change(fields: Partial<Omit<CompactHead, 'format' | 'term'>>): Promise<void> {
    const head: CompactHead = { ...this.#head, ...fields, term: this.#term };
    const body = Buffer.from(JSON.stringify(head));
    const put = await this.#store.put(HEAD_KEY, body, {
      ...this.#options,
      condition: this.#etag === undefined ? { kind: 'new' } : { kind: 'etag', etag: this.#etag },
    });
    let etag = put.kind === 'stored' ? put.etag : undefined;
    if (put.kind === 'exists') {
      // It was done and the answer was lost, or another one was quicker.
      const present = await this.#store.get(HEAD_KEY, this.#options);
      if (present?.body.equals(body)) etag = present.etag;
    }
    if (etag === undefined) throw fenced();
    this.#head = head;
    this.#etag = etag;
  }
}

function fenced(): OnewriterError {
  return new OnewriterError(
    'REPLICA_FENCED',
    'Another broker compacts the replicas in this store; this one stops.',
  );
}
