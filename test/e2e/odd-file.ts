import type Database from 'better-sqlite3';

/*
 * Files as other programs leave them: a schema with objects that this SQLite cannot use, because it lacks their function,
 * module or collation, or because what they refer to is gone.
 */

/** A table with an odd name that is in order. */
export const ODD_NAME = `odd "name"'; DROP TABLE x[\`](\n%`;

/** Each object that cannot be used, and a part of what SQLite says of it. */
export const BROKEN: Readonly<Record<string, RegExp>> = {
  v_gone: /no such table: main\.gone/,
  v_function: /no such function: their_function/,
  virtual: /no such module: their_module/,
  by_collation: /no such collation sequence: their_collation/,
  collated: /no such collation sequence: their_collation/,
  by_function: /unknown function: their_function/,
  generated: /unknown function: their_function/,
  fires: /no such table: main\.gone/,
};
/** Those that are in order. */
export const SOUND: readonly string[] = [
  'good',
  ODD_NAME,
  'v_good',
  'fired',
  'words',
  'indexed',
  'expressed',
];

/** Adds them. @param db a connection that may change its schema; closed and opened, it knows it */
export function addBrokenObjects(db: Database.Database): void {
  const quoted = `"${ODD_NAME.replaceAll('"', '""')}"`;
  db.exec(`CREATE TABLE good(id INTEGER PRIMARY KEY, v TEXT);
    INSERT INTO good(v) VALUES ('a'), ('b');
    CREATE TABLE ${quoted}("a ""b""" TEXT);
    INSERT INTO ${quoted} VALUES ('x');
    CREATE VIEW v_good AS SELECT v FROM good;
    CREATE TABLE gone(x);
    CREATE VIEW v_gone AS SELECT x FROM gone;
    CREATE VIEW v_function AS SELECT upper(v) FROM good;
    CREATE TABLE indexed(a TEXT, b TEXT);
    CREATE INDEX by_collation ON indexed(b COLLATE NOCASE);
    INSERT INTO indexed VALUES ('a', 'b');
    CREATE TABLE collated(a TEXT COLLATE NOCASE PRIMARY KEY, b) WITHOUT ROWID;
    INSERT INTO collated VALUES ('a', 1);
    CREATE TABLE expressed(a TEXT);
    CREATE INDEX by_function ON expressed(upper(a));
    INSERT INTO expressed VALUES ('a');
    CREATE TABLE generated(a TEXT, g TEXT AS (upper(a)), s TEXT AS (upper(a)) STORED);
    INSERT INTO generated(a) VALUES ('a');
    CREATE TABLE fired(a);
    CREATE TRIGGER fires AFTER INSERT ON fired BEGIN INSERT INTO gone VALUES (1); END;
    CREATE VIRTUAL TABLE words USING fts5(w);
    INSERT INTO words VALUES ('hello');
    DROP TABLE gone;`);
  // A program that has them registered would write the same.
  db.unsafeMode(true);
  db.pragma('writable_schema = ON');
  const rename = db.prepare('UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = ?');
  for (const name of ['v_function', 'by_function', 'generated']) rename.run('upper', 'their_function', name);
  for (const name of ['by_collation', 'collated']) rename.run('NOCASE', 'their_collation', name);
  db.prepare("INSERT INTO sqlite_schema VALUES ('table', 'virtual', 'virtual', 0, ?)").run(
    'CREATE VIRTUAL TABLE virtual USING their_module(a, b)',
  );
  db.pragma('writable_schema = RESET');
  db.unsafeMode(false);
}
