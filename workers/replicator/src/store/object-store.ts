/*
 * What the replicator needs of a store: objects with conditions. An S3-compatible store and a directory have it. Every call has a
 * deadline and may be given up; errors are OnewriterErrors: REPLICA_UNAVAILABLE (try again), REPLICA_REFUSED (rights, a store that
 * does not obey conditions, a wrong address: a person has to act).
 */

/** An object as it is stored. */
export interface StoredObject {
  readonly body: Buffer;
  /** Changes with each change of the object; for {@link PutCondition}. */
  readonly etag: string;
  /** Size of the whole object in bytes, also where a part was asked for. */
  readonly size: number;
}

/** `new`: there must be no object of this name. `etag`: it must be as it was read. */
export type PutCondition = { readonly kind: 'new' } | { readonly kind: 'etag'; readonly etag: string };

/** Bytes of an object: `from` and `length`, or the last `last` of them. */
export type ByteRange = { readonly from: number; readonly length: number } | { readonly last: number };

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Deadline of the call with its repetitions, ms. Default: 30,000. */
  readonly timeoutMs?: number | undefined;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  /** By the store's clock, ms since the epoch. */
  readonly modifiedMs: number;
}

/** Keys are relative to the address of the store: `packs/0/000000000001.pack`. Characters: a-z 0-9 . - _ / */
export interface ObjectStore {
  /** The address without secrets, for people. */
  readonly address: string;
  /** @returns undefined where there is no such object. */
  get(
    key: string,
    options?: CallOptions & { readonly range?: ByteRange | undefined },
  ): Promise<StoredObject | undefined>;
  /**
   * Stores an object, durably. A reply that was lost is found by a later call: a repetition of a conditional PUT that was done
   * answers 'exists'; the caller compares.
   * @returns its etag; 'exists' where the condition does not hold.
   */
  put(
    key: string,
    body: Uint8Array,
    options?: CallOptions & { readonly condition?: PutCondition | undefined },
  ): Promise<{ readonly kind: 'stored'; readonly etag: string } | { readonly kind: 'exists' }>;
  /** Keys that are not there are passed over. */
  delete(keys: readonly string[], options?: CallOptions): Promise<void>;
  /** Removes former states of an object that the store keeps besides the present one. Absent: it keeps none of its own accord. */
  removeFormer?(key: string, options?: CallOptions): Promise<void>;
  /** All objects whose keys begin with `prefix`, in order of the keys, page by page. */
  list(
    prefix: string,
    options?: CallOptions & { readonly after?: string | undefined },
  ): AsyncIterable<ListedObject>;
  /** Ends connections. Idempotent. */
  close(): Promise<void>;
}
