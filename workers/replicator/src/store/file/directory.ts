import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PassingError } from '../repeat-call.ts';

/*
 * Steps that survive a power cut and work between processes, also of several machines on NFS: a file is written under a name of its own,
 * flushed, and only then given its real name, in one step; then the folder is flushed. NFS may repeat a `link` whose answer was lost and
 * answer EEXIST for its own success: the number of names of the draft shows that.
 */

/** Names that no key has, as they begin with '.'. */
const DRAFTS = '.drafts';
/** A draft that is so old was left by a process that was killed, ms. */
const LOST_AFTER_MS = 24 * 60 * 60_000;

export class Directory {
  readonly root: string;
  /** Where it was when it was opened. An empty folder remains where a disk is no longer mounted. */
  readonly #identity: string;

  private constructor(root: string, identity: string) {
    this.root = root;
    this.#identity = identity;
  }

  static async open(root: string): Promise<Directory> {
    const identity = await identityOf(root);
    await ensureFolder(root, DRAFTS);
    await removeLost(join(root, DRAFTS));
    return new Directory(root, identity);
  }

  /** @throws PassingError where another file system is there than at the opening */
  async assertSame(): Promise<void> {
    if ((await identityOf(this.root)) !== this.#identity) {
      throw new PassingError(`${this.root} is another folder than at the start; is its disk mounted?`);
    }
  }

  path(name: string): string {
    return join(this.root, name);
  }

  /** Writes and flushes a file that has no real name yet, and removes it after `use`. */
  async withDraft<T>(body: Uint8Array, use: (draft: string) => Promise<T>): Promise<T> {
    const draft = this.path(`${DRAFTS}/${randomBytes(16).toString('hex')}`);
    try {
      const file = await open(draft, 'wx', 0o640);
      try {
        await file.writeFile(body);
        await file.datasync();
      } finally {
        await file.close();
      }
      return await use(draft);
    } finally {
      await removeFile(draft);
    }
  }

  /** Gives the file a second name. @returns false where the name is taken */
  async linkNew(draft: string, name: string): Promise<boolean> {
    const target = this.path(name);
    const namesBefore = (await stat(draft)).nlink;
    const isNew = await this.#inFolderOf(name, () => link(draft, target)).then(
      () => true,
      async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        return (await stat(draft)).nlink > namesBefore;
      },
    );
    if (isNew) await flushFolder(dirname(target));
    return isNew;
  }

  /** Gives the file that name alone, in place of what has it. */
  async renameOver(draft: string, name: string): Promise<void> {
    const target = this.path(name);
    await this.#inFolderOf(name, () => rename(draft, target));
    await flushFolder(dirname(target));
  }

  /** Removes a file and the folders that become empty. One that is not there is passed over. */
  async remove(name: string): Promise<void> {
    if (!(await removeFile(this.path(name)))) return;
    await flushFolder(dirname(this.path(name)));
    for (let folder = dirname(name); folder !== '.'; folder = dirname(folder)) {
      if (!(await removeFolderIfEmpty(this.path(folder)))) return;
    }
  }

  /** Makes the folder first. Another process may remove it while it is empty: once more, then. */
  async #inFolderOf(name: string, act: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 5) throw error;
        await ensureFolder(this.root, dirname(name));
      }
    }
  }
}

/** Makes folders below `root`, which must be there: never the root itself, as its disk may not be mounted. */
async function ensureFolder(root: string, folder: string): Promise<void> {
  let path = root;
  for (const part of folder.split('/').filter(name => name !== '.')) {
    const parent = path;
    path = join(path, part);
    try {
      await mkdir(path);
      await flushFolder(parent);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** One that is in use after all, as clocks differ, is written again: its PUT is repeated. */
async function removeLost(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (Date.now() - (await modifiedMs(path)) > LOST_AFTER_MS) await removeFile(path);
  }
}

async function modifiedMs(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    // Its process has removed it.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Number.POSITIVE_INFINITY;
    throw error;
  }
}

async function flushFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

async function removeFolderIfEmpty(path: string): Promise<boolean> {
  try {
    await rmdir(path);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true });
  return `${dev}:${ino}`;
}
