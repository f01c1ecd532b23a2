import { type Durability, isDurability, TENANT_ID_PATTERN } from '@onewriter/protocol';
import type { ObjectStore } from '../store/object-store.ts';
import { untilAnswered } from './pack-writer.ts';

/*
 * `durabilities.json`: the durabilities that people chose for tenants. Redis has them, and may be lost with the machine. It is small, and
 * written when one of them changes.
 */

export const DURABILITIES_KEY = 'durabilities.json';

/** By tenant; only those that differ from the settings. */
export type ChosenDurabilities = Readonly<Record<string, Durability>>;

interface StoredRecord {
  readonly format: 1;
  /** Of the replicator that wrote it. */
  readonly term: number;
  readonly tenants: ChosenDurabilities;
}

export interface StoredDurabilitiesOptions {
  readonly store: ObjectStore;
  readonly term: number;
  readonly signal: AbortSignal;
  /** It could not be written; the next change is tried again. */
  readonly onError: (error: unknown) => void;
}

/** The durabilities in a store, as the present leader knows them. */
export class StoredDurabilities {
  readonly #options: StoredDurabilitiesOptions;
  #etag: string | undefined;
  #stored = '';
  #next: ChosenDurabilities | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: StoredDurabilitiesOptions) {
    this.#options = options;
  }

  /** @throws OnewriterError REPLICA_UNAVAILABLE */
  async read(): Promise<ChosenDurabilities> {
    return (await this.#read())?.tenants ?? {};
  }

  /** Stores these, and nothing where the store has them. */
  write(tenants: ChosenDurabilities): void {
    this.#next = tenants;
    this.#writing ??= this.#writeAll()
      .catch(error => {
        if (!this.#options.signal.aborted) this.#options.onError(error);
      })
      .finally(() => {
        this.#writing = undefined;
      });
  }

  /** Resolves when what was to be written is, or cannot be. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    const { signal } = this.#options;
    for (let tenants = this.#next; tenants !== undefined; tenants = this.#next) {
      this.#next = undefined;
      const text = textOf(tenants);
      if (text === this.#stored) continue;
      const record: StoredRecord = { format: 1, term: this.#options.term, tenants };
      await untilAnswered(signal, () => this.#put(record), ['REPLICA_UNAVAILABLE']);
      this.#stored = text;
    }
  }

  async #put(record: StoredRecord): Promise<void> {
    const { store, term, signal } = this.#options;
    for (;;) {
      const put = await store.put(DURABILITIES_KEY, Buffer.from(JSON.stringify(record)), {
        condition: this.#etag === undefined ? { kind: 'new' } : { kind: 'etag', etag: this.#etag },
        signal,
      });
      if (put.kind === 'stored') {
        this.#etag = put.etag;
        return;
      }
      // The reply to an earlier attempt was lost, or another leader wrote it; a newer one is right.
      const present = await this.#read();
      if (present !== undefined && present.term > term) return;
    }
  }

  async #read(): Promise<StoredRecord | undefined> {
    const { store, signal } = this.#options;
    const found = await store.get(DURABILITIES_KEY, { signal });
    this.#etag = found?.etag;
    const record = found && parse(found.body);
    this.#stored = record === undefined ? '' : textOf(record.tenants);
    return record;
  }
}

/** Undefined where it is damaged: it is written again with the next change. */
function parse(body: Buffer): StoredRecord | undefined {
  let record: Partial<StoredRecord> | null;
  try {
    record = JSON.parse(body.toString()) as Partial<StoredRecord> | null;
  } catch {
    return undefined;
  }
  if (record?.format !== 1 || typeof record.tenants !== 'object' || record.tenants === null) return undefined;
  const tenants = Object.entries(record.tenants).filter(
    ([tenant, mode]) => TENANT_ID_PATTERN.test(tenant) && isDurability(mode),
  );
  return { format: 1, term: Number(record.term) || 0, tenants: Object.fromEntries(tenants) };
}

function textOf(tenants: ChosenDurabilities): string {
  return JSON.stringify(Object.entries(tenants).sort(([one], [other]) => (one < other ? -1 : 1)));
}
