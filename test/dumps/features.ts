import type { Random } from '@onewriter/testkit';
import { anyInteger, anyReal, anyText, anyValue, someWords } from './values.ts';

/** What a feature may do: SQL that is run in a new file. `n` is a number for names that no other feature has. */
export interface Sketch {
  readonly random: Random;
  readonly n: number;
  run(sql: string): void;
  /** Runs with SQLite's protections off, as an application of its own may have done before its file came here. */
  runUnsafely(sql: string): void;
}

type Feature = (sketch: Sketch) => void;

function times(random: Random, min: number, max: number, make: (index: number) => void): void {
  const count = random.between(min, max);
  for (let index = 0; index < count; index++) make(index);
}

/** Something that a database can have and a dump can lose. */
export const FEATURES: Readonly<Record<string, Feature>> = {
  'row ids with gaps': ({ random, n, run }) => {
    run(`CREATE TABLE gaps${n}(a, b TEXT, c INTEGER, d REAL, e BLOB, f NUMERIC)`);
    times(random, 0, 25, index => {
      const id = random.chance(0.1) ? -index : index * random.between(1, 9) + 1;
      const values = Array.from({ length: 6 }, () => anyValue(random));
      run(`INSERT OR IGNORE INTO gaps${n}(rowid, a, b, c, d, e, f) VALUES (${id}, ${values})`);
    });
    if (random.chance(0.5)) run(`CREATE INDEX gaps${n}_ab ON gaps${n}(a, b)`);
  },
  'integer primary keys': ({ random, n, run }) => {
    run(`CREATE TABLE keys${n}(id INTEGER PRIMARY KEY, v ANY)`);
    run(`CREATE TABLE odd_keys${n}(id INTEGER PRIMARY KEY DESC, v)`);
    run(`CREATE TABLE int_keys${n}(id INT PRIMARY KEY, v)`);
    times(random, 1, 10, index => {
      run(`INSERT INTO keys${n} VALUES (${index * 3 - 5}, ${anyValue(random)})`);
      run(`INSERT INTO odd_keys${n}(rowid, id, v) VALUES (${100 - index}, ${index}, ${anyValue(random)})`);
      run(`INSERT INTO int_keys${n}(rowid, id, v) VALUES (${index * 7}, ${index}, ${anyReal(random)})`);
    });
  },
  autoincrement: ({ random, n, run }) => {
    run(`CREATE TABLE auto${n}(id INTEGER PRIMARY KEY AUTOINCREMENT, v)`);
    run(`CREATE TABLE unused${n}(id INTEGER PRIMARY KEY AUTOINCREMENT)`);
    times(random, 1, 10, () => run(`INSERT INTO auto${n}(v) VALUES (${anyValue(random)})`));
    run(`DELETE FROM auto${n} WHERE id > (SELECT max(id) / 2 FROM auto${n})`);
    if (random.chance(0.3))
      run(`UPDATE sqlite_sequence SET seq = 9223372036854775806 WHERE name = 'auto${n}'`);
    if (random.chance(0.2)) run(`DELETE FROM sqlite_sequence WHERE name = 'auto${n}'`);
  },
  'without row ids': ({ random, n, run }) => {
    run(`CREATE TABLE wr${n}(a TEXT COLLATE NOCASE, b, c, PRIMARY KEY(b DESC, a)) WITHOUT ROWID`);
    times(random, 1, 15, index =>
      run(`INSERT OR IGNORE INTO wr${n} VALUES (${anyText(random)}, ${index % 4}, ${anyValue(random)})`),
    );
  },
  'strict tables': ({ random, n, run }) => {
    run(`CREATE TABLE strict${n}(i INT, r REAL, t TEXT, b BLOB, a ANY) STRICT`);
    run(`CREATE TABLE strict_wr${n}(k ANY PRIMARY KEY, v ANY) STRICT, WITHOUT ROWID`);
    times(random, 1, 10, index => {
      const row = [anyInteger(random), anyReal(random), anyText(random), "x'01'", anyValue(random)];
      run(`INSERT INTO strict${n} VALUES (${row})`);
      run(`INSERT OR IGNORE INTO strict_wr${n} VALUES (${index}.5, ${anyValue(random)})`);
    });
  },
  'generated columns': ({ random, n, run }) => {
    run(
      `CREATE TABLE gen${n}(a, v AS (typeof(a)), b TEXT, s AS (length(b) + 1) STORED, c NOT NULL DEFAULT 7)`,
    );
    run(`CREATE INDEX gen${n}_v ON gen${n}(v, s)`);
    times(random, 1, 10, () =>
      run(`INSERT INTO gen${n}(a, b) VALUES (${anyValue(random)}, ${anyText(random)})`),
    );
  },
  'foreign keys': ({ random, n, run }) => {
    run(
      `CREATE TABLE child${n}(id INTEGER PRIMARY KEY, up REFERENCES child${n}, p REFERENCES parent${n}(code))`,
    );
    run(`CREATE TABLE parent${n}(code TEXT, n)`);
    times(random, 2, 8, index => {
      run(`INSERT INTO child${n} VALUES (${index}, ${index + 1}, 'c${index + 1}')`);
      if (random.chance(0.8)) run(`INSERT INTO parent${n} VALUES ('c${index}', ${index})`);
    });
    run(`CREATE UNIQUE INDEX parent${n}_code ON parent${n}(code)`);
  },
  triggers: ({ random, n, run }) => {
    run(`CREATE TABLE log${n}(what); CREATE TABLE logged${n}(a, b DEFAULT 'x;y')`);
    run(`CREATE TRIGGER "logs;${n}" AFTER INSERT ON logged${n} BEGIN
      INSERT INTO log${n} VALUES ('insert; ' || new.a); DELETE FROM log${n} WHERE what IS NULL; END`);
    run(
      `CREATE TRIGGER stops${n} BEFORE INSERT ON logged${n} WHEN new.a = 3 BEGIN SELECT RAISE(ABORT, 'no'); END`,
    );
    times(random, 1, 6, index => run(`INSERT INTO logged${n}(a) VALUES (${index * 4})`));
    run(`CREATE VIEW logged_view${n} AS SELECT a FROM logged${n}`);
    run(`CREATE TRIGGER into_view${n} INSTEAD OF INSERT ON logged_view${n} BEGIN
      INSERT INTO logged${n}(a) VALUES (new.a); END`);
  },
  'full text': ({ random, n, run }) => {
    const options = random.pick([
      '',
      ", tokenize='porter'",
      ", prefix='2 3'",
      ', columnsize=0',
      ', detail=none',
    ]);
    run(`CREATE VIRTUAL TABLE ft${n} USING fts5(a, b UNINDEXED, c${options})`);
    if (random.chance(0.5)) run(`INSERT INTO ft${n}(ft${n}, rank) VALUES ('automerge', 3)`);
    if (random.chance(0.5)) run(`INSERT INTO ft${n}(ft${n}, rank) VALUES ('rank', 'bm25(10.0, 5.0)')`);
    times(random, 0, 20, index => {
      const row = [index * 5 - 8, `'${someWords(random)}'`, anyValue(random), anyText(random)];
      run(`INSERT INTO ft${n}(rowid, a, b, c) VALUES (${row})`);
    });
    run(`DELETE FROM ft${n} WHERE rowid % 3 = 0`);
    run(`CREATE VIRTUAL TABLE vocab${n} USING fts5vocab(ft${n}, ${random.pick(['row', 'col', 'instance'])})`);
  },
  'full text of another table': ({ random, n, run }) => {
    // No INTEGER PRIMARY KEY: the index refers to row ids.
    run(`CREATE TABLE docs${n}(title TEXT, body TEXT)`);
    run(`CREATE VIRTUAL TABLE found${n} USING fts5(title, body, content='docs${n}', content_rowid='rowid')`);
    run(`CREATE TRIGGER docs${n}_ai AFTER INSERT ON docs${n} BEGIN
      INSERT INTO found${n}(rowid, title, body) VALUES (new.rowid, new.title, new.body); END`);
    run(`CREATE TRIGGER docs${n}_ad AFTER DELETE ON docs${n} BEGIN
      INSERT INTO found${n}(found${n}, rowid, title, body) VALUES ('delete', old.rowid, old.title, old.body); END`);
    times(random, 2, 20, () =>
      run(`INSERT INTO docs${n} VALUES ('${someWords(random)}', '${someWords(random)}')`),
    );
    run(`DELETE FROM docs${n} WHERE rowid % 3 = 1`);
    if (random.chance(0.5))
      run(`DROP TRIGGER docs${n}_ai; INSERT INTO docs${n} VALUES ('not indexed', 'yet')`);
  },
  'full text without content': ({ random, n, run }) => {
    const options = random.pick([
      '',
      ", tokenize='porter'",
      ", tokenize='trigram'",
      ', detail=column',
      ', columnsize=0',
    ]);
    run(`CREATE VIRTUAL TABLE bare${n} USING fts5(a, b, content=''${options})`);
    times(random, 1, 25, index =>
      run(
        `INSERT INTO bare${n}(rowid, a, b) VALUES (${index * 11 - 30}, '${someWords(random)}', '${someWords(random)}')`,
      ),
    );
  },
  'older full text': ({ random, n, run }) => {
    run(`CREATE VIRTUAL TABLE four${n} USING fts4(a, b, languageid="lid", notindexed=b)`);
    run(`CREATE VIRTUAL TABLE four_bare${n} USING fts4(content="", a, tokenize=porter)`);
    run(`CREATE VIRTUAL TABLE three${n} USING fts3(x)`);
    run(`CREATE VIRTUAL TABLE four_terms${n} USING fts4aux(four${n})`);
    times(random, 1, 12, index => {
      const row = [index * 4 + 2, `'${someWords(random)}'`, anyText(random), index % 2];
      run(`INSERT INTO four${n}(docid, a, b, lid) VALUES (${row})`);
      run(`INSERT INTO four_bare${n}(docid, a) VALUES (${index * 3 + 1}, '${someWords(random)}')`);
      run(`INSERT INTO three${n}(docid, x) VALUES (${index + 5}, '${someWords(random)}')`);
    });
  },
  'boxes in space': ({ random, n, run }) => {
    run(`CREATE VIRTUAL TABLE box${n} USING rtree(id, x0, x1, y0, y1, +note)`);
    run(`CREATE VIRTUAL TABLE cell${n} USING rtree_i32(id, x0, x1)`);
    times(random, 1, 60, index => {
      const [x, y] = [random.next() * 100 - 50, random.next() * 1e6];
      run(
        `INSERT INTO box${n} VALUES (${index * 3}, ${x}, ${x + random.next()}, ${y}, ${y + 5}, ${anyText(random)})`,
      );
      run(`INSERT INTO cell${n} VALUES (${index}, ${index - 7}, ${index + 7})`);
    });
  },
  'tables that hold nothing': ({ n, run }) => {
    run(`CREATE VIRTUAL TABLE pages${n} USING dbstat`);
  },
  'odd names': ({ random, n, run }) => {
    run(
      `CREATE TABLE "od""d; ${n}"("a b", "c""d" TEXT, [e]]f] INT, \`g\`, "select", "ü🧵", "--", "_onewriter")`.replace(
        '[e]]f]',
        '"e]f"',
      ),
    );
    run(`CREATE TABLE "rowid${n}"(rowid, "ROWID2", oid)`);
    run(`CREATE TABLE all_three${n}(rowid TEXT, _rowid_, oid)`);
    run(`CREATE TABLE "it's ${n}"(a)`);
    run(`CREATE INDEX "i;""${n}" ON "od""d; ${n}"("a b", "select")`);
    times(random, 1, 5, index => {
      run(`INSERT INTO "od""d; ${n}" VALUES (${Array.from({ length: 8 }, () => anyValue(random))})`);
      run(`INSERT INTO "rowid${n}"(_rowid_, rowid, oid) VALUES (${index * 9}, ${anyValue(random)}, 1)`);
      run(`INSERT INTO all_three${n} VALUES ('x', ${index}, ${anyValue(random)})`);
      run(`INSERT INTO "it's ${n}" VALUES (${anyText(random)})`);
    });
  },
  'many columns': ({ random, n, run }) => {
    const columns = Array.from({ length: random.pick([250, 950]) }, (_, index) => `c${index}`);
    run(`CREATE TABLE wide${n}(${columns})`);
    times(random, 1, 3, () => run(`INSERT INTO wide${n} VALUES (${columns.map(() => anyValue(random))})`));
  },
  indexes: ({ random, n, run }) => {
    run(`CREATE TABLE idx${n}(a TEXT UNIQUE, b, c COLLATE NOCASE, UNIQUE(b, c))`);
    times(random, 1, 12, index =>
      run(`INSERT INTO idx${n} VALUES ('${index}', ${index}, ${anyText(random)})`),
    );
    run(`CREATE INDEX idx${n}_expression ON idx${n}(lower(a) DESC, b COLLATE RTRIM) WHERE b > 3`);
    run(`CREATE UNIQUE INDEX idx${n}_unique ON idx${n}(a, b)`);
    if (random.chance(0.5)) run('ANALYZE');
  },
  views: ({ n, run }) => {
    run(`CREATE VIEW outer${n} AS SELECT a AS x, a, a FROM inner${n} -- of a view that is made later`);
    run(
      `CREATE VIEW inner${n}(a) AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3) SELECT i FROM c`,
    );
    run(`CREATE VIEW broken${n} AS SELECT * FROM gone${n}`);
  },
  'changed tables': ({ random, n, run }) => {
    run(`CREATE TABLE before${n}(a, -- a comment; with a semicolon
      b /* and another */)`);
    times(random, 1, 6, () => run(`INSERT INTO before${n} VALUES (${anyValue(random)}, 1)`));
    run(`ALTER TABLE before${n} ADD COLUMN c TEXT DEFAULT 'it''s' CHECK (c <> 'no')`);
    run(`ALTER TABLE before${n} ADD COLUMN d INTEGER DEFAULT 5`);
    run(`INSERT INTO before${n}(a) VALUES ('after')`);
    run(`ALTER TABLE before${n} RENAME TO after${n}`);
    run(`ALTER TABLE after${n} RENAME COLUMN a TO "first one"`);
    run(`ALTER TABLE after${n} DROP COLUMN b`);
  },
  'numbers of the file': ({ random, run }) => {
    run(`PRAGMA user_version = ${random.between(-2_147_483_648, 2_147_483_647)}`);
    run(`PRAGMA application_id = ${random.between(-2_147_483_648, 2_147_483_647)}`);
  },
  'rows that break a rule': ({ n, run, runUnsafely }) => {
    // A column whose type was changed under its values.
    run(`CREATE TABLE retyped${n}(a TEXT, b); INSERT INTO retyped${n} VALUES ('5', 1), ('x', 2.5)`);
    runUnsafely(`PRAGMA writable_schema = ON;
      UPDATE sqlite_schema SET sql = 'CREATE TABLE retyped${n}(a BLOB, b)' WHERE name = 'retyped${n}';
      PRAGMA writable_schema = RESET`);
  },
};
