import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type OnewriterError, onAbort, tenantFile } from '@onewriter/protocol';
import type { Point } from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import { aborted, closed } from '../reads/read-refusals.ts';
import type { TenantReads } from '../reads/tenant-reads.ts';
import { type Owner, Shares, type Taken } from '../security/shares.ts';
import { Turns } from '../security/turns.ts';

/*
 * Files of tenants as they were at points, for people who look before they go back:
 *
 *   restored ──▶ kept, and read ──▶ removed: not read for a while, or another file needs its place
 *
 * Requests for the same commit share a file, for as long as its tenant's own file is the same. All lie in one temporary folder that looks like a data directory, with processes for reads of
 * their own: those of tenants open nothing else. Folder and processes go with the last file.
 */

/** A tenant's file at a point. */
export interface PointFile {
  /** As the reads know it. */
  readonly name: string;
  readonly reads: Pick<TenantReads, 'read' | 'stream'>;
  /** What was found for the point. */
  readonly commitSeq: number;
  readonly atMs: number;
}

/** Which file is wanted, and on whose account. */
export interface PointFileRequest {
  readonly tenant: string;
  readonly point: Point;
  readonly owner: Owner;
  readonly signal: AbortSignal;
}

/** Settings of {@link PointFiles}. */
export interface PointFilesOptions {
  /** Makes the file of a point. Its folder is there. */
  readonly stage: (
    request: Pick<PointFileRequest, 'tenant' | 'point' | 'signal'> & { readonly path: string },
  ) => Promise<Pick<PointFile, 'commitSeq' | 'atMs'>>;
  readonly dbFile: string;
  /** Path of the tenant's own file: under a name that was given again it is another one, which counts commits from 1. */
  readonly fileOf: (tenant: string) => string;
  readonly makeFolder: () => Promise<string>;
  readonly removeFolder: (path: string) => Promise<void>;
  readonly openReads: (dataDir: string) => PointReads;
  /** A read ends by then: a file that was used since stays. */
  readonly readTimeoutMs: number;
  readonly log: Pick<Logger, 'warn'>;
  /** Of a clock that cannot leap, ms. */
  readonly now?: (() => number) | undefined;
}

/** Reads of the files. */
export type PointReads = Pick<TenantReads, 'read' | 'stream' | 'forget'> & { close(): Promise<void> };

/** Files at the same time, and those of one tenant or token; a token for all tenants may have three quarters. */
export const MAX_POINT_FILES = 8;
const MAX_FILES_OF_OWNER = 2;
/** Files that are restored at the same time. */
const MAX_RESTORES = 2;
/** A file that is not read for so long is removed. */
export const POINT_FILE_IDLE_MS = 5 * 60_000;
const LOOK_EVERY_MS = 30_000;

interface Entry {
  readonly key: string;
  readonly name: string;
  readonly owner: Owner;
  readonly taken: Taken;
  readonly stop: AbortController;
  ready: Promise<PointFile>;
  isKept: boolean;
  /** Callers that wait for it. */
  waiting: number;
  usedAt: number;
}

interface Room {
  readonly folder: string;
  readonly reads: PointReads;
}

export class PointFiles {
  readonly #options: PointFilesOptions;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #removals = new Set<Promise<void>>();
  readonly #shares = new Shares({
    what: 'files of former points',
    total: MAX_POINT_FILES,
    share: MAX_FILES_OF_OWNER,
  });
  /** Those who wait are no more than there are files. */
  readonly #turns = new Turns({
    what: 'files of former points',
    callers: 2 * MAX_POINT_FILES,
    turns: MAX_RESTORES,
    turnsOfOwner: 1,
  });
  #room: Promise<Room> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #made = 0;
  #isClosed = false;

  constructor(options: PointFilesOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * The file of a point, to be read now.
   * @throws OnewriterError RATE_LIMITED, ABORTED, RESULT_TOO_LARGE, POSITION_UNKNOWN, REPLICA_…, DATABASE_FULL, CLOSED
   */
  async use(request: PointFileRequest): Promise<PointFile> {
    const { tenant, signal } = request;
    if (this.#isClosed) throw closed();
    if (signal.aborted) throw aborted(tenant);
    const entry = this.#find(request);
    entry.waiting++;
    let forget = () => {};
    const gone = new Promise<never>((_, reject) => {
      forget = onAbort(signal, () => reject(aborted(tenant)));
    });
    try {
      return await Promise.race([entry.ready, gone]);
    } finally {
      forget();
      entry.waiting--;
      entry.usedAt = this.#now();
      if (entry.waiting === 0 && !entry.isKept) this.#remove(entry, aborted(tenant));
    }
  }

  /** Removes what was not read for a while. */
  removeIdle(): void {
    for (const entry of this.#entries.values())
      if (this.#isFree(entry, POINT_FILE_IDLE_MS)) this.#remove(entry);
  }

  /** Removes all. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const entry of this.#entries.values()) this.#remove(entry, closed());
    await Promise.all(this.#removals);
  }

  #find({ tenant, point, owner }: PointFileRequest): Entry {
    // Which commit is the newest, or that of a time, is known only when it is restored.
    const isNamed = point.kind === 'commitSeq' || point.kind === 'pos';
    const name = `p${++this.#made}`;
    const key = isNamed ? `${this.#options.fileOf(tenant)} ${JSON.stringify(point)}` : name;
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    this.#makePlace(owner);
    const taken = this.#shares.take(owner);
    const stop = new AbortController();
    const entry: Entry = {
      ...{ key, name, owner, taken, stop, isKept: false, waiting: 0, usedAt: this.#now() },
      ready: this.#restore({ tenant, point, owner, signal: stop.signal }, name),
    };
    entry.ready.then(
      () => {
        entry.isKept = true;
      },
      () => {}, // those who wait for it see why, and the last of them removes it
    );
    this.#entries.set(key, entry);
    return entry;
  }

  async #restore(request: PointFileRequest, name: string): Promise<PointFile> {
    const { tenant, point, owner, signal } = request;
    const place = this.#turns.enter(owner);
    try {
      await place.turn(signal);
      this.#room ??= this.#open();
      const { folder, reads } = await this.#room;
      const path = tenantFile(folder, name, this.#options.dbFile);
      await mkdir(dirname(path), { recursive: true });
      const { commitSeq, atMs } = await this.#options.stage({ tenant, point, path, signal });
      return { name, reads, commitSeq, atMs };
    } finally {
      place.leave();
    }
  }

  async #open(): Promise<Room> {
    try {
      const folder = await this.#options.makeFolder();
      this.#timer = setInterval(() => this.removeIdle(), LOOK_EVERY_MS).unref();
      return { folder, reads: this.#options.openReads(folder) };
    } catch (error) {
      this.#room = undefined;
      throw error;
    }
  }

  /** The owner's own files go first, and of them the one that was not read for the longest time. */
  #makePlace(owner: Owner): void {
    const isOthers = (entry: Entry) => Number(entry.owner.names[0] !== owner.names[0]);
    const order = [...this.#entries.values()].sort(
      (one, other) => isOthers(one) - isOthers(other) || one.usedAt - other.usedAt,
    );
    for (const entry of order) {
      if (this.#shares.hasRoom(owner)) return;
      if (this.#isFree(entry, this.#options.readTimeoutMs)) this.#remove(entry);
    }
  }

  #isFree({ isKept, waiting, usedAt }: Entry, unusedMs: number): boolean {
    return isKept && waiting === 0 && usedAt + unusedMs <= this.#now();
  }

  #remove(entry: Entry, reason?: OnewriterError): void {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    if (entry.isKept) entry.taken.release();
    else entry.stop.abort(reason);
    const removal = this.#discard(entry)
      .catch((error: Error) => this.#options.log.warn({ err: error }, 'A temporary file was not removed'))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  async #discard({ ready, name, taken }: Entry): Promise<void> {
    try {
      // Its process may still write to it.
      await Promise.allSettled([ready]);
      const room = await this.#room;
      if (room === undefined) return;
      room.reads.forget(name);
      await rm(dirname(tenantFile(room.folder, name, this.#options.dbFile)), {
        recursive: true,
        force: true,
      });
    } finally {
      taken.release();
    }
    if (this.#entries.size === 0 && this.#removals.size <= 1) await this.#leave();
  }

  async #leave(): Promise<void> {
    const opened = this.#room;
    this.#room = undefined;
    clearInterval(this.#timer);
    const room = await opened;
    await room?.reads.close();
    if (room !== undefined) await this.#options.removeFolder(room.folder);
  }
}
