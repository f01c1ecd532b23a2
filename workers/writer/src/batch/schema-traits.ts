import type { Database, Statement } from 'better-sqlite3';
import { lazily } from './lazily.ts';

const TRAITS_SQL = `
  SELECT coalesce(max(sql LIKE '%deferrable%initially%deferred%'), 0),
    coalesce(max(sql LIKE '%last\\_insert\\_rowid%(%' ESCAPE '\\' OR sql LIKE '%changes%(%'), 0)
  FROM sqlite_schema`;

/**
 * Finds out how a tenant's schema affects its writes. It matches the text of the schema, so the answer can be a needless `true`,
 * never a wrong `false`.
 *
 * Only the writer changes a schema, so it is read again after {@link changed}, or when its version has changed.
 */
export class SchemaTraits {
  readonly #version: () => Statement<[], number>;
  readonly #find: () => Statement<[], [deferred: number, counters: number]>;
  /** Version of the traits below; -1: not read. */
  #seenVersion = -1;
  #stale = true;
  /** The schema was changed in the transaction that is open. A rollback gives its version number to another schema. */
  #changing = false;
  #deferredKeys = false;
  #asksCounters = false;

  constructor(db: Database) {
    this.#version = lazily(() => db.prepare<[], number>('PRAGMA schema_version').pluck());
    this.#find = lazily(() => db.prepare<[], [number, number]>(TRAITS_SQL).raw());
  }

  /** Whether it has foreign keys that are checked at COMMIT only. */
  get deferredKeys(): boolean {
    this.#refresh();
    return this.#deferredKeys;
  }

  /** Whether a trigger, view or default asks for `last_insert_rowid()`, `changes()` or `total_changes()`. */
  get asksCounters(): boolean {
    this.#refresh();
    return this.#asksCounters;
  }

  /** Checks the version again: a transaction begins. */
  look(): this {
    this.#stale = true;
    return this;
  }

  /** A statement has changed the schema. */
  changed(): void {
    this.#stale = true;
    this.#changing = true;
    this.#seenVersion = -1;
  }

  /** Something was rolled back. */
  undone(): void {
    if (this.#changing) this.changed();
  }

  /** Nothing can be rolled back any more. */
  committed(): void {
    this.#changing = false;
  }

  #refresh(): void {
    if (!this.#stale) return;
    this.#stale = false;
    const version = this.#version().get()!;
    if (version === this.#seenVersion) return;
    this.#seenVersion = version;
    const [deferred, counters] = this.#find().get()!;
    this.#deferredKeys = deferred === 1;
    this.#asksCounters = counters === 1;
  }
}

/** Whether a statement may make a foreign key that is checked at COMMIT only. */
export function mayDefer({ keyword, sql }: { readonly keyword: string; readonly sql: string }): boolean {
  return (keyword === 'CREATE' || keyword === 'ALTER') && /deferr/i.test(sql);
}
