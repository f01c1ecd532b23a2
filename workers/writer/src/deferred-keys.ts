import type { Database, Statement } from 'better-sqlite3';
import type { CompiledStatement } from './statement-cache.ts';

/** Tells whether a file has foreign keys that are checked at COMMIT only; looks at the schema when that has changed. */
export class DeferredKeys {
  readonly #version: Statement<[], number>;
  readonly #find: Statement;
  #seenVersion = -1;
  #any = false;

  constructor(db: Database) {
    this.#version = db.prepare<[], number>('PRAGMA schema_version').pluck();
    this.#find = db.prepare("SELECT 1 FROM sqlite_schema WHERE sql LIKE '%deferr%' LIMIT 1");
  }

  get any(): boolean {
    const version = this.#version.get()!;
    if (version !== this.#seenVersion) {
      this.#seenVersion = version;
      this.#any = this.#find.get() !== undefined;
    }
    return this.#any;
  }
}

/** Whether a statement may make such a key. */
export function mayDefer({ keyword, sql }: CompiledStatement): boolean {
  return (keyword === 'CREATE' || keyword === 'ALTER') && /deferr/i.test(sql);
}
