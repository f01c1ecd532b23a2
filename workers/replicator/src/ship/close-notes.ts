import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { giveTo, makeFolder, type Owner } from '@onewriter/files';
import { readFileIfThere } from '@onewriter/protocol';
import type { CloseNote } from './continues.ts';

/** Whose notes they are to be where root makes them for a broker. */
interface GivenNotes {
  readonly owner: Owner | undefined;
  /** Gets what could not be done. */
  readonly warnings: string[];
}

/*
 * `<dataDir>/replica/closed/<tenant>.json`: how the last clean close left a tenant's file. Notes are not flushed: one that a power cut
 * lost or cut short counts as none, and one that is older than the file does not fit its times any more. Either costs a full
 * segment, never a wrong one.
 */
export class CloseNotes {
  readonly #folder: string;
  readonly #given: GivenNotes;
  #isMade = false;

  /** @param given default: they are this user's */
  constructor(dataDir: string, given: GivenNotes = { owner: undefined, warnings: [] }) {
    this.#folder = join(dataDir, 'replica', 'closed');
    this.#given = given;
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
    const { owner, warnings } = this.#given;
    if (!this.#isMade) makeFolder(this.#folder, owner, warnings);
    this.#isMade = true;
    const path = this.#path(tenant);
    const draft = `${path}.draft`;
    writeFileSync(draft, JSON.stringify(note));
    giveTo(draft, owner, warnings);
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
