import { readdir, stat } from 'node:fs/promises';
import {
  type HibernatedNote,
  isKnownDatabase,
  isOnewriterError,
  listHibernated,
  orDenied,
  readHibernated,
  realDatabasePath,
  TENANT_ID_PATTERN,
  tenantFile,
  tenantsDir,
} from '@onewriter/protocol';

/** Bytes of a tenant's files. */
export interface TenantSize {
  readonly bytes: number;
  /** The write-ahead log, which is part of the database. */
  readonly walBytes: number;
}

/** A tenant whose file lies in the replica. */
export type Hibernated = Pick<HibernatedNote, 'bytes' | 'since' | 'commitSeq'>;

/** What lies in a tenant's place. */
export interface FolderLook {
  /** Undefined where there is no database file, or it cannot be seen. */
  readonly size: TenantSize | undefined;
  /** Where its file lies in the replica: its size, and since when. */
  readonly hibernated: Hibernated | undefined;
  /** A broker wrote to a database there, which is gone. */
  readonly isGone: boolean;
  /** Why it cannot be used: it is gone, or cannot be seen. */
  readonly trouble: string | undefined;
}

/** Tenants whose files are looked at side by side. */
const AT_ONCE = 64;

/**
 * The folders of tenants, by their names and `stat` alone: opening and closing a database file with `fs` would drop SQLite's locks
 * of this process.
 */
export class TenantFolders {
  readonly #dataDir: string;
  readonly #dbFile: string;

  constructor(dataDir: string, dbFile: string) {
    this.#dataDir = dataDir;
    this.#dbFile = dbFile;
  }

  /** Tenants that have a folder, or are hibernated, by name. None where there is no data directory. @throws Error of the file system */
  async names(): Promise<string[]> {
    const folders = await readdir(tenantsDir(this.#dataDir), { withFileTypes: true }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      },
    );
    const present = folders
      .filter(folder => folder.isDirectory() && TENANT_ID_PATTERN.test(folder.name))
      .map(({ name }) => name);
    return [...new Set([...present, ...listHibernated(this.#dataDir)])].sort();
  }

  /** Names of tenants that have a database file, or one that cannot be seen, sorted. @throws Error of the file system */
  async withFiles(): Promise<string[]> {
    const names = await this.names();
    const looks = await this.look(names);
    return names.filter((_, index) => {
      const { size, isGone, trouble } = looks[index]!;
      return size !== undefined || (trouble !== undefined && !isGone);
    });
  }

  /** Undefined where there is no database file. @throws Error of the file system */
  async size(tenant: string): Promise<TenantSize | undefined> {
    const path = realDatabasePath(tenantFile(this.#dataDir, tenant, this.#dbFile));
    const [bytes, walBytes] = await Promise.all([sizeOf(path), sizeOf(`${path}-wal`)]);
    return bytes === undefined ? undefined : { bytes, walBytes: walBytes ?? 0 };
  }

  /** Looks at each of the tenants, in their order. One that cannot be seen does not keep others from being seen. */
  async look(tenants: readonly string[]): Promise<FolderLook[]> {
    const looks: FolderLook[] = [];
    for (let from = 0; from < tenants.length; from += AT_ONCE) {
      const part = tenants.slice(from, from + AT_ONCE);
      looks.push(...(await Promise.all(part.map(tenant => this.#look(tenant)))));
    }
    return looks;
  }

  async #look(tenant: string): Promise<FolderLook> {
    try {
      const size = await this.size(tenant);
      const note = size === undefined ? readHibernated(this.#dataDir, tenant) : undefined;
      if (note !== undefined) {
        const { bytes, since, commitSeq } = note;
        return { size, hibernated: { bytes, since, commitSeq }, isGone: false, trouble: undefined };
      }
      const isGone = size === undefined && isKnownDatabase(this.#dataDir, tenant);
      const trouble = isGone ? 'Its database is gone: put it back, or restore a backup.' : undefined;
      return { size, hibernated: undefined, isGone, trouble };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === undefined && !isOnewriterError(error)) throw error;
      return { size: undefined, hibernated: undefined, isGone: false, trouble: message };
    }
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw orDenied(error, path);
  }
}
