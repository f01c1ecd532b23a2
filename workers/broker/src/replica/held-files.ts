import { statSync } from 'node:fs';
import { isHibernated, isKnownDatabase, realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { Config } from '@onewriter/runtime';

/** What became of a tenant's file while the tenant was held. */
export interface HeldChange {
  readonly kind: 'replaced' | 'deleted';
  readonly tenant: string;
}

/** A file that cannot be looked at. */
const UNSEEN = '?';

/**
 * Compares tenants' files before and after they were held. What a holder does to a file (restore, load, adopt, delete) is in no log, so
 * the replicator has to hear of it.
 */
export class HeldFiles {
  readonly #config: Pick<Config, 'dataDir' | 'dbFile'>;
  readonly #before = new Map<string, string>();
  readonly #onChanged: (change: HeldChange) => void;

  constructor(config: Pick<Config, 'dataDir' | 'dbFile'>, onChanged: (change: HeldChange) => void) {
    this.#config = config;
    this.#onChanged = onChanged;
  }

  /** The tenant is held, and its file is closed. */
  held(tenant: string): void {
    if (!this.#before.has(tenant)) this.#before.set(tenant, this.#mark(tenant));
  }

  /** No hold is left. @returns what became of the file; undefined: nothing, as far as that can be seen */
  freed(tenant: string): HeldChange['kind'] | undefined {
    const before = this.#before.get(tenant);
    this.#before.delete(tenant);
    if (before === undefined) return undefined;
    const now = this.#mark(tenant);
    if (now === before || now === UNSEEN) return undefined;
    // One that a person only moved away stays in the replica.
    if (now === '' && this.#isKnown(tenant)) return undefined;
    const kind = now === '' ? 'deleted' : 'replaced';
    this.#onChanged({ kind, tenant });
    return kind;
  }

  #isKnown(tenant: string): boolean {
    try {
      return isKnownDatabase(this.#config.dataDir, tenant);
    } catch {
      return true; // it cannot be seen: not deleted, as far as known
    }
  }

  /** '' where there is no file. Each change of the file changes one of these. */
  #mark(tenant: string): string {
    const { dataDir, dbFile } = this.#config;
    try {
      const path = realDatabasePath(tenantFile(dataDir, tenant, dbFile));
      const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
      // Its file lies in the replica.
      if (stats === undefined) return isHibernated(dataDir, tenant) ? UNSEEN : '';
      const { dev, ino, size, mtimeNs } = stats;
      return `${path} ${dev}:${ino} ${size} ${mtimeNs}`;
    } catch {
      return UNSEEN; // its next write says why
    }
  }
}
