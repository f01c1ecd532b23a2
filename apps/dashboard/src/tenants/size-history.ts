import { LRUCache } from 'lru-cache';

/** Sizes of a watched tenant's files, for a plot. */
export interface SizeColumns {
  readonly everyMs: number;
  readonly endsAt: number;
  readonly bytes: readonly (number | null)[];
  readonly walBytes: readonly (number | null)[];
}

interface Size {
  readonly bytes: number;
  readonly walBytes: number;
}

const EVERY_MS = 5_000;
/** 15 minutes. */
const LENGTH = 180;
/** 5 minutes: shown also where less is known. */
const MIN_LENGTH = 60;
const MAX_TENANTS = 200;

/** Remembers the sizes of the tenants that people look at, for a quarter of an hour; bounded. */
export class SizeHistory {
  /** Drops the tenant whose page was not looked at for longest. */
  readonly #tenants = new LRUCache<string, Map<number, Size>>({ max: MAX_TENANTS });

  add(tenant: string, size: Size, now: number = Date.now()): void {
    const slots = this.#tenants.get(tenant) ?? new Map<number, Size>();
    this.#tenants.set(tenant, slots);
    const slot = Math.floor(now / EVERY_MS);
    slots.set(slot, size);
    for (const old of slots.keys()) if (old <= slot - LENGTH) slots.delete(old);
  }

  columns(tenant: string, now: number = Date.now()): SizeColumns {
    const slots = this.#tenants.get(tenant);
    const end = Math.floor(now / EVERY_MS);
    const first = Math.min(end, ...(slots?.keys() ?? []));
    const length = Math.max(MIN_LENGTH, Math.min(LENGTH, end - first + 1));
    const sizes = Array.from({ length }, (_, index) => slots?.get(end - length + 1 + index));
    return {
      everyMs: EVERY_MS,
      endsAt: now,
      bytes: sizes.map(size => size?.bytes ?? null),
      walBytes: sizes.map(size => size?.walBytes ?? null),
    };
  }
}
