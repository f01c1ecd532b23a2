import type { StatusReplicaStore } from '@onewriter/protocol';
import type { ObjectStore } from './object-store.ts';

/** A store that counts what it did. */
export interface OpenStore extends ObjectStore {
  status(): StatusReplicaStore;
}

/** What a request costs and is billed as. */
export type RequestKind = 'get' | 'put' | 'delete' | 'list';

/** Counts requests and bytes of a store, and notes since when it fails. */
export class StoreWatch {
  readonly #address: string;
  readonly #requests = { get: 0, put: 0, delete: 0, list: 0 };
  #bytesOut = 0;
  #bytesIn = 0;
  #failing: { readonly sinceMs: number; readonly error: string } | undefined;

  constructor(address: string) {
    this.#address = address;
  }

  /** A request is sent; each repetition is one, too. */
  sent(kind: RequestKind, bytes = 0): void {
    this.#requests[kind]++;
    this.#bytesOut += bytes;
  }

  /** The store answered. */
  answered(bytes = 0): void {
    this.#bytesIn += bytes;
    this.#failing = undefined;
  }

  /** It did not, or refused. The time is that of the first failure in a row. */
  failed(error: string): void {
    this.#failing = { sinceMs: this.#failing?.sinceMs ?? Date.now(), error };
  }

  status(): StatusReplicaStore {
    return {
      address: this.#address,
      ok: this.#failing === undefined,
      ...(this.#failing && { failingSince: this.#failing.sinceMs, error: this.#failing.error }),
      requests: { ...this.#requests },
      bytesOut: this.#bytesOut,
      bytesIn: this.#bytesIn,
    };
  }
}
