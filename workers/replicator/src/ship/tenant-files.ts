import { statSync } from 'node:fs';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import { CloseNotes } from './close-notes.ts';
import type { CloseNote, KnownEnd } from './continues.ts';
import type { Failures } from './failures.ts';
import { isAsKnown } from './is-as-known.ts';

/** Tenants' files and notes, as this thread looks at them. A disk that is full or fails is noted, and must not end the thread. */
export class TenantFiles {
  readonly #place: { readonly dataDir: string; readonly dbFile: string };
  readonly #notes: CloseNotes;
  readonly #failures: Failures;

  constructor(place: { readonly dataDir: string; readonly dbFile: string }, failures: Failures) {
    this.#place = place;
    this.#notes = new CloseNotes(place.dataDir);
    this.#failures = failures;
  }

  readNote(tenant: string): CloseNote | undefined {
    return this.#failures.try(tenant, () => this.#notes.read(tenant));
  }

  writeNote(tenant: string, note: CloseNote): void {
    this.#failures.try(tenant, () => this.#notes.write(tenant, note));
  }

  removeNote(tenant: string): void {
    this.#failures.try(tenant, () => this.#notes.remove(tenant));
  }

  /** In bytes; 0 where it is not known. */
  sizeOf(tenant: string): number {
    const path = realDatabasePath(this.#path(tenant));
    return this.#failures.try(tenant, () => statSync(path, { throwIfNoEntry: false })?.size) ?? 0;
  }

  /** Also true where that cannot be seen. */
  isAsKnown(tenant: string, known: KnownEnd): boolean {
    const look = () => isAsKnown(this.#path(tenant), known, () => this.#notes.read(tenant));
    return this.#failures.try(tenant, look) ?? true;
  }

  #path(tenant: string): string {
    return tenantFile(this.#place.dataDir, tenant, this.#place.dbFile);
  }
}
