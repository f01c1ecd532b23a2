import { OnewriterError, shownName } from '@onewriter/protocol';
import { LRUCache } from 'lru-cache';
import { quoteName } from '../export/sql-text.ts';
import { foldName } from './fold-name.ts';
import type { OnConflict } from './import-options.ts';

/** A column as `pragma_table_xinfo` has it. */
export interface TableColumn {
  readonly name: string;
  /** 0, 1 of a hidden column of a virtual table, 2 or 3 of a generated one. */
  readonly hidden: number;
}

/** Columns of a table. Source: SQLITE_MAX_COLUMN of better-sqlite3's build. */
export const MAX_COLUMNS = 2_000;
/** Sets of columns that are remembered. */
const MAX_STATEMENTS = 100;
/** Names in a message. */
const MAX_NAMES = 20;
const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];

/** The columns of a table that rows are imported into. */
export class TableShape {
  readonly name: string;
  readonly #columns: ReadonlyMap<string, TableColumn>;
  readonly #hasRowid: boolean;
  readonly #onConflict: OnConflict;
  /** The column that is the rowid, folded. */
  readonly #key: string | undefined;
  readonly #statements = new LRUCache<string, string>({ max: MAX_STATEMENTS });

  /**
   * @param hasRowid rows can be given a rowid under its own name
   * @param key the INTEGER PRIMARY KEY, which is the rowid, too
   */
  constructor(
    name: string,
    columns: readonly TableColumn[],
    hasRowid: boolean,
    onConflict: OnConflict,
    key?: string | undefined,
  ) {
    this.name = name;
    this.#columns = new Map(columns.map(column => [foldName(column.name), column]));
    this.#hasRowid = hasRowid;
    this.#onConflict = onConflict;
    this.#key = key === undefined ? undefined : foldName(key);
  }

  /** Whether a row can have a value for this name. */
  has(name: string): boolean {
    const folded = foldName(name);
    return this.#columns.has(folded) || (this.#hasRowid && ROWID_NAMES.includes(folded));
  }

  /**
   * The INSERT of rows with these fields; the same text for the same fields, so that a job has it once.
   * @param texts indexes of fields that come as blobs and are texts
   * @throws OnewriterError INVALID_ARGUMENT, with the names of fields that are not columns, or are the same one
   */
  insert(fields: readonly string[], texts: readonly number[] = []): string {
    const key = texts.length === 0 ? fields.join('\0') : `${texts.join()}\0${fields.join('\0')}`;
    let sql = this.#statements.get(key);
    if (sql === undefined) {
      this.#assertColumns(fields);
      sql = this.#write(fields, texts);
      this.#statements.set(key, sql);
    }
    return sql;
  }

  #assertColumns(fields: readonly string[]): void {
    const seen = new Map<string, string>();
    for (const field of fields) {
      const folded = this.#columnOf(field);
      const twin = seen.get(folded);
      if (twin !== undefined) {
        throw invalid(`Two fields are for one column: ${listNames([twin])} and ${listNames([field])}.`);
      }
      seen.set(folded, field);
    }
    const unknown = fields.filter(field => !this.has(field));
    if (unknown.length > 0) {
      const known = [...this.#columns.values()].filter(({ hidden }) => hidden === 0).map(({ name }) => name);
      throw invalid(
        `The table ${listNames([this.name])} has no column ${listNames(unknown)}; its columns are ${listNames(known)}.`,
      );
    }
    const generated = fields.filter(field => (this.#columns.get(foldName(field))?.hidden ?? 0) > 1);
    if (generated.length > 0) {
      throw invalid(`SQLite makes the values of ${listNames(generated)}; leave such columns out.`);
    }
  }

  /** The same text for all names of a column; those of the rowid are one. */
  #columnOf(field: string): string {
    const folded = foldName(field);
    if (this.#columns.has(folded)) return folded === this.#key ? 'the rowid' : folded;
    return this.#hasRowid && ROWID_NAMES.includes(folded) ? 'the rowid' : folded;
  }

  #write(fields: readonly string[], texts: readonly number[]): string {
    const verb = this.#onConflict === 'reject' ? 'INSERT' : `INSERT OR ${this.#onConflict.toUpperCase()}`;
    const into = `${verb} INTO ${quoteName(this.name)}`;
    if (fields.length === 0) return `${into} DEFAULT VALUES`;
    const marks = fields.map((_, index) => (texts.includes(index) ? 'CAST(? AS TEXT)' : '?'));
    return `${into} (${fields.map(quoteName).join(', ')}) VALUES (${marks.join(', ')})`;
  }
}

/** Names for a message. */
export function listNames(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).map(name => quoteName(shownName(name)));
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}

function invalid(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
