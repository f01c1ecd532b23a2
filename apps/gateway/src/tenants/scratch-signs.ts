import { stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A file in a folder of temporary files: its time says when the process that works there was last alive. */
const SIGN = 'alive';
const SIGN_EVERY_MS = 30_000;
/** A process that was silent for so long is gone. Its clock, the file system's and ours may differ by minutes. */
export const SILENT_MS = 10 * 60_000;

/** Signs of life in the folders of this process: what others have left is removed soon, also by a gateway in another container. */
export class ScratchSigns {
  readonly #folders = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** @throws Error of the file system */
  async add(folder: string): Promise<void> {
    await writeFile(join(folder, SIGN), '', { mode: 0o600 });
    this.#folders.add(folder);
    this.#timer ??= setInterval(() => this.#sign(), SIGN_EVERY_MS).unref();
  }

  /** Whether this process works there: after a pause of the machine, or a leap of its clock, its own signs are old. */
  has(folder: string): boolean {
    return this.#folders.has(folder);
  }

  remove(folder: string): void {
    this.#folders.delete(folder);
    if (this.#folders.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sign(): void {
    const now = new Date();
    // One that fails is tried again long before the folder counts as left.
    for (const folder of this.#folders) utimes(join(folder, SIGN), now, now).catch(() => {});
  }
}

/** Whether the process that made a folder is gone; not known of one without a sign. */
export async function isLeft(folder: string, nowMs: number): Promise<boolean> {
  try {
    return (await stat(join(folder, SIGN))).mtimeMs + SILENT_MS < nowMs;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}
