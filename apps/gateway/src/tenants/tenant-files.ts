import type { Stats } from 'node:fs';
import { link, mkdir, mkdtemp, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import {
  assertMayMakeDatabase,
  createDatabaseFile,
  findDatabaseFile,
  findLackOfRoom,
  forgetKnownDatabase,
  hadDatabase,
  isHibernated,
  isLackOfRoom,
  isOnewriterError,
  linkNewDatabase,
  newDatabaseName,
  noteFormerDatabase,
  OnewriterError,
  orDenied,
  realDatabasePath,
  tenantFile,
  tenantsDir,
  trashDir,
} from '@onewriter/protocol';
import { TenantFolders } from '@onewriter/tenants';
import { isLeft, ScratchSigns } from './scratch-signs.ts';

/** A folder in the trash. */
export interface TrashEntry {
  /** Name of the folder in the trash. */
  readonly name: string;
  readonly tenant: string;
  readonly deletedAtMs: number;
  readonly expiresAtMs: number;
}

/** Makes all who have a tenant's file open notice that it was moved away. Never throws. */
export type RetireFile = (tenant: string, path: string) => void;

const SCRATCH_PREFIX = 'scratch.';
const TRASH_NAME = /^(?:scratch\.)?([a-z0-9-]{1,63})\.(\d{1,15})\.(\d{1,15})(?:\.\w{6})?$/;

/**
 * The tenants' folders, by the file system alone: opening a database file with `fs` and closing it would drop SQLite's
 * locks of this process.
 */
export class TenantFiles extends TenantFolders {
  readonly #dataDir: string;
  readonly #dbFile: string;
  readonly #retire: RetireFile;
  readonly #signs = new ScratchSigns();

  constructor(dataDir: string, dbFile: string, retire: RetireFile) {
    super(dataDir, dbFile);
    this.#dataDir = dataDir;
    this.#dbFile = dbFile;
    this.#retire = retire;
  }

  /** Incarnation of the file that the tenant's path leads to; undefined where it leads to none. */
  incarnation(tenant: string): string | undefined {
    return findDatabaseFile(this.#path(tenant))?.incarnation;
  }

  /** Whether its file lies in the replica only. */
  isHibernated(tenant: string): boolean {
    return isHibernated(this.#dataDir, tenant) && findDatabaseFile(this.#path(tenant)) === undefined;
  }

  /** Changes with every commit, nearly always; undefined where there is no file. */
  async fingerprint(tenant: string): Promise<string | undefined> {
    const path = realDatabasePath(this.#path(tenant));
    const [file, wal] = await Promise.all([statOf(path), statOf(`${path}-wal`)]);
    if (file === undefined) return undefined;
    return `${file.ino}:${file.mtimeMs}:${wal?.size ?? 0}:${wal?.mtimeMs ?? 0}`;
  }

  /**
   * Makes the folder and an empty file, which is an empty database; the writer does the rest.
   * @returns false where there is a file already
   * @throws OnewriterError TENANT_UNAVAILABLE where the tenant's file was moved or deleted outside Onewriter; DATABASE_FULL
   */
  async create(tenant: string): Promise<boolean> {
    const path = this.#path(tenant);
    // It is there, elsewhere.
    if (this.isHibernated(tenant)) return false;
    return this.#inFolder(tenant, async () => {
      this.#assertNotGone(tenant, path);
      if (!createDatabaseFile(path, hadDatabase(this.#dataDir, tenant))) return false;
      await this.#flushAbove(path);
      return true;
    });
  }

  /**
   * Puts a whole database file in a tenant's place. No process may have it open.
   * @returns false where there is a file already; then nothing was done.
   * @throws OnewriterError TENANT_UNAVAILABLE where a log of another file lies there, which SQLite would take for its own
   */
  async place(tenant: string, file: string): Promise<boolean> {
    // Its own is elsewhere.
    if (this.isHibernated(tenant)) return false;
    await flushFile(file);
    return this.#inFolder(tenant, () => this.#place(tenant, file));
  }

  /** @throws OnewriterError TENANT_UNAVAILABLE where the tenant's file was moved or deleted outside Onewriter */
  #assertNotGone(tenant: string, path: string): void {
    if (findDatabaseFile(path) === undefined) assertMayMakeDatabase(this.#dataDir, tenant, path);
  }

  async #place(tenant: string, file: string): Promise<boolean> {
    const path = this.#path(tenant);
    for (const log of [`${path}-wal`, `${path}-journal`]) {
      if ((await statOf(log)) === undefined || (await statOf(path)) !== undefined) continue;
      throw new OnewriterError(
        'TENANT_UNAVAILABLE',
        `The log of a database that is gone lies in the folder of tenant ${tenant}; move it away.`,
        { tenant, reason: 'a log without its database' },
      );
    }
    this.#assertNotGone(tenant, path);
    if (hadDatabase(this.#dataDir, tenant)) {
      const name = newDatabaseName(basename(path));
      await link(file, join(dirname(path), name));
      let isPlaced = false;
      try {
        isPlaced = linkNewDatabase(path, name);
      } finally {
        if (!isPlaced) await unlink(join(dirname(path), name));
      }
      if (!isPlaced) return false;
    } else {
      try {
        // Unlike a rename it never replaces a file.
        await link(file, path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw error;
      }
    }
    await this.#flushAbove(path);
    return true;
  }

  /** Works in the tenant's folder, which goes again where it was made for nothing. @throws OnewriterError DATABASE_FULL */
  async #inFolder<Result>(tenant: string, work: () => Promise<Result>): Promise<Result> {
    const folder = dirname(this.#path(tenant));
    return this.#orFull(tenant, async () => {
      const made = (await mkdir(folder, { recursive: true })) !== undefined;
      try {
        return await work();
      } catch (error) {
        // Where it holds anything it stays: what failed first is what the caller has to know.
        if (made) await rmdir(folder).catch(() => {});
        throw error;
      }
    });
  }

  /** @throws OnewriterError DATABASE_FULL where the file system takes nothing more; what `work` throws */
  async #orFull<Result>(tenant: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // For a folder without room, Node's recursive mkdir reports that its parent is missing. Measured: Node 20.
      const full =
        isLackOfRoom(error) || code === 'ENOENT' ? findLackOfRoom(this.#dataDir, error) : undefined;
      if (full === undefined && !isLackOfRoom(error)) throw error;
      const message = full?.message ?? 'The file system is full, or what this user may have of it.';
      const reason = full?.details['reason'] ?? code;
      throw new OnewriterError('DATABASE_FULL', message, { tenant, reason }, error);
    }
  }

  /** A new file's name is in its folder, and the folder's in those above. */
  async #flushAbove(path: string): Promise<void> {
    for (const folder of [dirname(path), tenantsDir(this.#dataDir), this.#dataDir]) await flushFolder(folder);
  }

  /**
   * Moves a tenant's folder into the trash, from where it can be moved back as it was. No process may have the file open
   * for writes; a reader's next read fails, and it looks again where the path leads.
   * @param mayBeGone a folder that is not there is no error: the tenant is only forgotten
   * @returns undefined where it is not there
   */
  async moveToTrash(tenant: string, retentionMs: number, mayBeGone = false): Promise<TrashEntry | undefined> {
    const deletedAtMs = Date.now();
    const expiresAtMs = deletedAtMs + retentionMs;
    const trash = trashDir(this.#dataDir);
    const name = `${tenant}.${deletedAtMs}.${expiresAtMs}`;
    const folder = dirname(this.#path(tenant));
    await this.#orFull(tenant, async () => {
      await mkdir(trash, { recursive: true });
      // Before the move: the next file must not get a name that this one had.
      noteFormerDatabase(this.#dataDir, tenant);
      // Before, too: where the rename fails the next to open the file notes it again.
      forgetKnownDatabase(this.#dataDir, tenant);
    });
    try {
      await rename(folder, join(trash, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      if (mayBeGone) return undefined;
      throw new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
    }
    await flushFolder(trash);
    await flushFolder(tenantsDir(this.#dataDir));
    this.#retireIn(tenant, join(trash, name));
    return { name, tenant, deletedAtMs, expiresAtMs };
  }

  /**
   * Makes a folder for a temporary file, on the disk of the data. It lies in the trash, so that what a process that died
   * left there expires, or goes when that process has given no sign of life for minutes.
   * @throws OnewriterError DATABASE_FULL
   */
  makeScratch(tenant: string, lifeMs: number): Promise<string> {
    const name = `${tenant}.${Date.now()}.${Date.now() + 2 * lifeMs}`;
    const trash = trashDir(this.#dataDir);
    return this.#orFull(tenant, async () => {
      await mkdir(trash, { recursive: true });
      const folder = await mkdtemp(join(trash, `${SCRATCH_PREFIX}${name}.`));
      await this.#signs.add(folder);
      return folder;
    });
  }

  /** Removes a folder of {@link makeScratch}. */
  async removeScratch(path: string): Promise<void> {
    this.#signs.remove(path);
    await rm(path, { recursive: true, force: true });
  }

  /** Removes for good what has been in the trash for long enough, and what processes left that are gone. @returns what was removed */
  async emptyTrash(nowMs: number = Date.now()): Promise<TrashEntry[]> {
    const trash = trashDir(this.#dataDir);
    const removed: TrashEntry[] = [];
    for (const name of await readdir(trash).catch(unlessMissing([]))) {
      const match = TRASH_NAME.exec(name);
      if (match === null) continue;
      const path = join(trash, name);
      const isOver = Number(match[3]) <= nowMs;
      const mayBeLeft = name.startsWith(SCRATCH_PREFIX) && !this.#signs.has(path);
      if (!isOver && !(mayBeLeft && (await isLeft(path, nowMs)))) continue;
      await rm(path, { recursive: true, force: true });
      removed.push({ name, tenant: match[1]!, deletedAtMs: Number(match[2]), expiresAtMs: Number(match[3]) });
    }
    return removed;
  }

  #retireIn(tenant: string, folder: string): void {
    let path: string | undefined;
    try {
      path = findDatabaseFile(join(folder, this.#dbFile))?.path;
    } catch (error) {
      // What no reader opens needs no notice.
      if (!isOnewriterError(error, 'TENANT_UNAVAILABLE')) throw error;
    }
    if (path !== undefined) this.#retire(tenant, path);
  }

  #path(tenant: string): string {
    return tenantFile(this.#dataDir, tenant, this.#dbFile);
  }
}

function unlessMissing<T>(instead: T): (error: NodeJS.ErrnoException) => T {
  return error => {
    if (error.code === 'ENOENT') return instead;
    throw error;
  };
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw orDenied(error, path);
  }
}

function flushFolder(path: string): Promise<void> {
  return flushFile(path);
}

async function flushFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
