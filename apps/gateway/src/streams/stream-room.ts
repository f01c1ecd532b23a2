import assert from 'node:assert/strict';
import { LIMITS } from '@onewriter/protocol';

/** How many writes, and bytes of them, streams may have under way: read, and not settled. */
export interface RoomLimits {
  readonly maxStreamWrites: number;
  readonly maxStreamBytes: number;
  readonly maxTenantWrites: number;
  readonly maxTenantBytes: number;
  readonly maxWrites: number;
  readonly maxBytes: number;
}

/**
 * Four pieces of an import keep a tenant's writer busy, so a stream needs no more; a tenant gets twice that for all of its
 * streams. All together stay under half of what the SDK holds (LIMITS.maxClientBytes), so that streams leave room for requests.
 */
const DEFAULTS: RoomLimits = Object.freeze({
  maxStreamWrites: 4 * LIMITS.maxImportPieceRows,
  maxStreamBytes: 4 * 1024 * 1024,
  maxTenantWrites: 8 * LIMITS.maxImportPieceRows,
  maxTenantBytes: 8 * 1024 * 1024,
  maxWrites: 64 * LIMITS.maxImportPieceRows,
  maxBytes: LIMITS.maxClientBytes / 2,
});

interface TenantUse {
  writes: number;
  bytes: number;
  streams: number;
}

/**
 * Bounds what the streams of writes of a gateway hold, per tenant and in all. Tenants have equal shares, and so have a tenant's
 * streams. A stream that holds nothing may always take one write, so none ever waits for good; with that the bound is exact but
 * for one write of each stream.
 */
export class StreamRooms {
  readonly limits: RoomLimits;
  readonly #tenants = new Map<string, TenantUse>();
  /** Those that found no room, and what wakes them. */
  readonly #waiting = new Map<StreamRoom, () => void>();
  #writes = 0;
  #bytes = 0;
  #streams = 0;

  constructor(limits: RoomLimits = DEFAULTS) {
    this.limits = limits;
  }

  /** What all streams have under way. */
  get used(): { readonly streams: number; readonly writes: number; readonly bytes: number } {
    return { streams: this.#streams, writes: this.#writes, bytes: this.#bytes };
  }

  /** The most there ever was: of all streams, and of those of one tenant. */
  readonly peak = { writes: 0, bytes: 0, tenantWrites: 0, tenantBytes: 0 };

  /** The room of a stream; close it. */
  open(tenant: string): StreamRoom {
    const use = this.#tenants.get(tenant) ?? { writes: 0, bytes: 0, streams: 0 };
    this.#tenants.set(tenant, use);
    use.streams++;
    this.#streams++;
    const room: StreamRoom = new StreamRoom({
      take: (writes, bytes) => {
        if (!this.#hasRoom(room, use, writes, bytes)) return false;
        this.#count(use, writes, bytes);
        return true;
      },
      give: (writes, bytes) => {
        this.#count(use, -writes, -bytes);
        this.#wake();
      },
      wait: wake => {
        if (wake === undefined) this.#waiting.delete(room);
        else this.#waiting.set(room, wake);
      },
      close: () => {
        use.streams--;
        this.#streams--;
        if (use.streams === 0) this.#tenants.delete(tenant);
        // The shares of the others have grown.
        this.#wake();
      },
    });
    return room;
  }

  #hasRoom(room: StreamRoom, use: TenantUse, writes: number, bytes: number): boolean {
    if (room.writes === 0) return true;
    const { maxStreamWrites, maxStreamBytes, maxTenantWrites, maxTenantBytes, maxWrites, maxBytes } =
      this.limits;
    const tenants = this.#tenants.size;
    const tenantWrites = Math.min(maxTenantWrites, maxWrites / tenants);
    const tenantBytes = Math.min(maxTenantBytes, maxBytes / tenants);
    // The sums may be over the shares for a moment when a stream is new: its share is held by others.
    return (
      room.writes + writes <= Math.min(maxStreamWrites, tenantWrites / use.streams) &&
      room.bytes + bytes <= Math.min(maxStreamBytes, tenantBytes / use.streams) &&
      use.writes + writes <= maxTenantWrites &&
      use.bytes + bytes <= maxTenantBytes &&
      this.#writes + writes <= maxWrites &&
      this.#bytes + bytes <= maxBytes
    );
  }

  #count(use: TenantUse, writes: number, bytes: number): void {
    use.writes += writes;
    use.bytes += bytes;
    this.#writes += writes;
    this.#bytes += bytes;
    assert(use.writes >= 0 && use.bytes >= 0 && this.#writes >= 0 && this.#bytes >= 0);
    if (writes < 0) return;
    const { peak } = this;
    peak.writes = Math.max(peak.writes, this.#writes);
    peak.bytes = Math.max(peak.bytes, this.#bytes);
    peak.tenantWrites = Math.max(peak.tenantWrites, use.writes);
    peak.tenantBytes = Math.max(peak.tenantBytes, use.bytes);
  }

  #wake(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

interface RoomSource {
  take(writes: number, bytes: number): boolean;
  give(writes: number, bytes: number): void;
  /** @param wake undefined: no more */
  wait(wake: (() => void) | undefined): void;
  close(): void;
}

/** What one stream has under way. */
export class StreamRoom {
  writes = 0;
  bytes = 0;
  readonly #source: RoomSource;
  #closed = false;

  constructor(source: RoomSource) {
    this.#source = source;
  }

  /** Takes room for one write. @returns false where there is none; see {@link whenFree} */
  tryTake(bytes: number): boolean {
    if (!this.#source.take(1, bytes)) return false;
    this.writes++;
    this.bytes += bytes;
    return true;
  }

  /** Calls `wake` once when there may be room again; each call replaces the one before. */
  whenFree(wake: () => void): void {
    if (!this.#closed) this.#source.wait(wake);
  }

  /** Releases room. */
  give(writes: number, bytes: number): void {
    this.writes -= writes;
    this.bytes -= bytes;
    assert(this.writes >= 0 && this.bytes >= 0, 'More room was released than was taken.');
    this.#source.give(writes, bytes);
  }

  /** Releases all of it. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#source.wait(undefined);
    if (this.writes > 0) this.give(this.writes, this.bytes);
    this.#source.close();
  }
}
