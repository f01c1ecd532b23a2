import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFileIfThere } from '@onewriter/protocol';
import type { CloseNote } from './continues.ts';

/*
 * `<dataDir>/replica/closed/<tenant>.json`: how the last clean close left a tenant's file. Notes are not flushed: one that a power cut
 * lost or cut short counts as none, and one that is older than the file does not fit its times any more. Either costs a full
 * segment, never a wrong one.
 */
export class CloseNotes {
  readonly #folder: string;
  #isMade = false;

  constructor(dataDir: string) {
    this.#folder = join(dataDir, 'replica', 'closed');
  }

  /** Undefined where there is none that can be read. */
  read(tenant: string): CloseNote | undefined {
    const text = readFileIfThere(this.#path(tenant));
    if (text === undefined) return undefined;
    try {
      const { pos, to, mark } = JSON.parse(text) as Partial<CloseNote>;
      return pos !== undefined && to !== undefined && mark !== undefined ? { pos, to, mark } : undefined;
    } catch {
      return undefined;
    }
  }

  /** Replaces the tenant's note at once. @throws Error of the file system */
  write(tenant: string, note: CloseNote): void {
    if (!this.#isMade) mkdirSync(this.#folder, { recursive: true });
    this.#isMade = true;
    const path = this.#path(tenant);
    const draft = `${path}.draft`;
    writeFileSync(draft, JSON.stringify(note));
    renameSync(draft, path);
  }

  /** @throws Error of the file system */
  remove(tenant: string): void {
    rmSync(this.#path(tenant), { force: true });
  }

  // A folder of their own: a tenant may have any name that another file of `<dataDir>/replica` has.
  #path(tenant: string): string {
    return join(this.#folder, `${tenant}.json`);
  }
}
