import { FORMER_TABLE_PREFIX, INTERNAL_TABLE_PREFIX } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';

/*
 * The tables of format 2 had no reserved prefix. ALTER TABLE gives them the names of format 3: their pages stay where they are,
 * so a large ledger costs no more than a small one.
 *
 * A broker of format 2 finds none of its tables in such a file, and would make new ones, whose ledger knows no job. In the same
 * transaction it notes its epoch, and a foreign key keeps it from that: the guard refers to the column of the epoch, which
 * cannot be referred to because it is not unique, so SQLite refuses to compile the UPDATE ("foreign key mismatch -
 * … needs_a_newer_broker …"). The guard has no rows, and the table that it refers to does not exist: nothing else looks at it.
 */

/** The tables of format 2. */
export const FORMER_TABLES = ['state', 'ledger', 'jobs', 'keys', 'marks'].map(
  name => FORMER_TABLE_PREFIX + name,
);

/** Not a deferred key: a schema with one has each write committed alone (SchemaTraits). */
export const OLD_BROKER_GUARD = `
CREATE TABLE IF NOT EXISTS ${INTERNAL_TABLE_PREFIX}needs_a_newer_broker(
  former TEXT REFERENCES ${FORMER_TABLE_PREFIX}state(epoch)
) STRICT;`;

/**
 * Gives the tables of format 2 their reserved names. In a transaction, within `withReservedNames`, under which SQLite also
 * passes over views and triggers that are broken already. Views that name the tables get the new names; what others hung on
 * them is dropped: SQLite reads no schema in which a reserved table has a trigger.
 */
export function bringOver(db: Database): void {
  const has = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?");
  const tables = FORMER_TABLES.filter(name => has.get(name) !== undefined);
  const hung = db.prepare<[string], { type: string; name: string }>(
    "SELECT type, name FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL AND type IN ('index', 'trigger')",
  );
  for (const table of tables) {
    for (const { type, name } of hung.all(table)) db.exec(`DROP ${type} ${quote(name)}`);
    db.exec(`ALTER TABLE ${table} RENAME TO ${table.replace(FORMER_TABLE_PREFIX, INTERNAL_TABLE_PREFIX)}`);
  }
  // ANALYZE does not look at reserved tables, and would leave these for ever.
  const statistics = db.prepare<[], string>(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')",
  );
  for (const name of statistics.pluck().all()) {
    for (const table of tables) db.prepare(`DELETE FROM ${name} WHERE tbl = ?`).run(table);
  }
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
