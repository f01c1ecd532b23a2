import { checkIntegrity, findBrokenObjects, inspected } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';

/** Everything that a schema may have, in order. */
const SOUND = `
  CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x, y AS (x + 1), z AS (x || '') STORED, CHECK (length(x) < 10));
  CREATE TABLE keyed(k TEXT PRIMARY KEY, v ANY) STRICT, WITHOUT ROWID;
  CREATE TABLE parent(p TEXT UNIQUE);
  CREATE TABLE child(c TEXT REFERENCES parent(p) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
  CREATE TABLE tree(id INTEGER PRIMARY KEY, above REFERENCES tree);
  CREATE TABLE computed(a AS (1), b);
  CREATE TABLE "5"(a);
  CREATE TABLE "select"("from" TEXT DEFAULT (hex(randomblob(4))));
  CREATE TABLE UPPER_(A);
  CREATE TABLE wide(${Array.from({ length: 1_900 }, (_, index) => `c${index}`)});
  CREATE VIEW v AS SELECT id, x FROM a;
  CREATE VIEW numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n LIMIT 3;
  CREATE VIEW listed(a, b) AS VALUES (1, 2), (3, 4);
  CREATE VIEW ranked AS SELECT id, row_number() OVER (ORDER BY x) FROM a;
  CREATE VIEW parts AS SELECT value FROM json_each('[1]');
  CREATE VIEW long AS ${Array.from({ length: 400 }, (_, index) => `SELECT ${index}`).join(' UNION ALL ')};
  CREATE TRIGGER on_insert INSTEAD OF INSERT ON v BEGIN INSERT INTO a(x) VALUES (NEW.x); END;
  CREATE TRIGGER on_update INSTEAD OF UPDATE ON v BEGIN UPDATE a SET x = NEW.x WHERE id = OLD.id; END;
  CREATE TRIGGER ignores AFTER INSERT ON a BEGIN SELECT RAISE(IGNORE) WHERE NEW.x IS NULL; END;
  CREATE TRIGGER "T r" AFTER DELETE ON upper_ BEGIN SELECT 1; END;
  CREATE VIRTUAL TABLE words USING fts5(t, content = '', contentless_delete = 1);
  CREATE VIRTUAL TABLE terms USING fts5vocab(words, row);
  CREATE VIRTUAL TABLE outside USING fts5(x, content = a, content_rowid = id);
  CREATE VIRTUAL TABLE boxes USING rtree(id, a, b);
  CREATE INDEX expressed ON a(lower(x)) WHERE x > 3;
  CREATE UNIQUE INDEX collated ON child(c COLLATE NOCASE DESC);`;

it('says nothing of a schema that SQLite can use', () => {
  const db = new Database(':memory:');
  try {
    db.exec(SOUND);
    expect(findBrokenObjects(inspected(db))).toEqual([]);
    expect(checkIntegrity(inspected(db), 20)).toEqual({ problems: [], violations: [], unchecked: [] });
  } finally {
    db.close();
  }
});

it('names keys whose parent lacks what they refer to, and checks those of others', () => {
  const db = new Database(':memory:');
  try {
    db.exec(
      'CREATE TABLE parent(p); CREATE TABLE child(c REFERENCES parent(p)); CREATE TABLE late(c REFERENCES absent(p))',
    );
    expect(findBrokenObjects(inspected(db))).toEqual([
      expect.objectContaining({ name: 'child', error: expect.stringMatching(/foreign key mismatch/) }),
      expect.objectContaining({ name: 'late', error: 'INSERT: no such table: main.absent' }),
      expect.objectContaining({ name: 'parent', error: expect.stringMatching(/foreign key mismatch/) }),
    ]);
    // The others' keys are checked all the same.
    db.exec('CREATE TABLE kid(id INTEGER PRIMARY KEY, p REFERENCES kid)');
    db.pragma('foreign_keys = OFF');
    db.exec('INSERT INTO kid VALUES (1, 7)');
    expect(checkIntegrity(inspected(db), 20).violations).toEqual([{ table: 'kid', parent: 'kid', rows: 1 }]);
  } finally {
    db.close();
  }
});
