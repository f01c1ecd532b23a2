import { createHash } from 'node:crypto';
import { boundMessage, isNotOwnTableSql, OnewriterError } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';

/*
 * What a foreign_key_check finds after statements without foreign keys, less what it found before them. A rebuild may give rows
 * new row ids, so a row that dangled before is known by the values of its reference, and counted: the same value in another row
 * is a new one.
 */

/** More are counted by child and parent table alone. */
const MAX_VALUES = 10_000;
/** A longer key is replaced by its hash. */
const MAX_KEY_LENGTH = 64;
/** So many are named in an error. */
const MAX_NAMED = 5;

const CHILDREN = `SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%references%' AND ${isNotOwnTableSql('name')} ORDER BY name`;

interface DanglingRow {
  readonly table: string;
  /** null: a table without row ids. */
  readonly row: bigint | null;
  readonly parent: string;
  readonly foreignKey: number;
}

/** Finds rows whose parent is missing, of the state before and after. */
export class DanglingRows {
  readonly #db: Database.Database;
  /** Before any table was there, all rows are those of a dump, and it is loaded as it is. */
  readonly wasEmpty: boolean;
  readonly #before = new Map<string, number>();
  #byValue = true;

  /** Looks at the state before. Inside the transaction. */
  constructor(db: Database.Database) {
    this.#db = db;
    this.wasEmpty =
      db
        .prepare(
          `SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
            AND ${isNotOwnTableSql('name')}`,
        )
        .get() === undefined;
    this.#count();
    if (this.#before.size <= MAX_VALUES) return;
    this.#byValue = false;
    this.#before.clear();
    this.#count();
  }

  /**
   * Looks at the state after, before it is committed.
   * @param remedy a sentence for the message.
   * @throws OnewriterError CONSTRAINT_VIOLATION with the tables, rows and parents that are new
   */
  assertNoneAdded(remedy?: string): void {
    if (this.wasEmpty) return;
    const left = new Map(this.#before);
    const named: string[] = [];
    let added = 0;
    for (const [key, name] of this.#find()) {
      const count = left.get(key) ?? 0;
      if (count > 0) left.set(key, count - 1);
      else if (++added <= MAX_NAMED) named.push(name);
    }
    if (added === 0) return;
    const more = added > named.length ? ` and ${added - named.length} more` : '';
    throw new OnewriterError(
      'CONSTRAINT_VIOLATION',
      boundMessage(
        `Without foreign keys these statements leave references to what is not there: ${named.join(', ')}${more}. ` +
          `Nothing of them is applied.${remedy === undefined ? '' : ` ${remedy}`}`,
      ),
      { sqliteCode: 'SQLITE_CONSTRAINT_FOREIGNKEY', danglingRows: added },
    );
  }

  #count(): void {
    for (const [key] of this.#find()) {
      this.#before.set(key, (this.#before.get(key) ?? 0) + 1);
      if (this.#byValue && this.#before.size > MAX_VALUES) return;
    }
  }

  /** A key and a name of each row that dangles. */
  *#find(): Generator<readonly [key: string, name: string]> {
    const tables = this.#db.prepare<[], string>(CHILDREN).pluck().all();
    const check = this.#db
      .prepare<[string], DanglingRow>(
        'SELECT "table", rowid AS row, parent, fkid AS foreignKey FROM pragma_foreign_key_check(?)',
      )
      .safeIntegers();
    for (const table of tables) {
      const references = this.#byValue ? this.#compileReferences(table) : [];
      try {
        for (const { row, parent, foreignKey } of check.iterate(table)) {
          const value = row === null ? undefined : references[Number(foreignKey)]?.get(row);
          yield [
            keyOf(table, parent, value ?? ''),
            `${table}${row === null ? '' : ` row ${row}`} → ${parent}`,
          ];
        }
      } catch (error) {
        // The parent's columns are no key: as long as that is so, no row can be checked.
        if (!(error instanceof Database.SqliteError && error.message.startsWith('foreign key mismatch')))
          throw error;
        yield [keyOf(table, '', 'mismatch'), `${table} (${error.message})`];
      }
    }
  }

  /** For each foreign key of a table the value of its reference in a row. */
  #compileReferences(table: string): readonly (Statement<[bigint], string> | undefined)[] {
    const columns = this.#db
      .prepare<[string], [number, string]>(
        'SELECT id, "from" FROM pragma_foreign_key_list(?) ORDER BY id, seq',
      )
      .raw()
      .all(table);
    const byKey: string[][] = [];
    for (const [id, column] of columns) {
      byKey[id] ??= [];
      byKey[id].push(`quote(CAST(${quoteName(column)} AS TEXT))`);
    }
    try {
      return byKey.map(values =>
        this.#db
          .prepare<[bigint], string>(
            `SELECT ${values.join(` || ',' || `)} FROM ${quoteName(table)} WHERE rowid = ?`,
          )
          .pluck(),
      );
    } catch (error) {
      if (error instanceof Database.SqliteError) return []; // a table without row ids
      throw error;
    }
  }
}

function keyOf(table: string, parent: string, value: string): string {
  const key = `${table.toLowerCase()}\0${parent.toLowerCase()}\0${value}`;
  return key.length <= MAX_KEY_LENGTH ? key : createHash('sha256').update(key).digest('base64');
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
