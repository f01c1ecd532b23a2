import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  WireOperation,
  WireOperationResult,
  WireRowsOperation,
  WireStatementResult,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import { queuedJob, resultsOf, script, TemporaryLane } from '../../test-support/temporary-lane.ts';
import type { QueuedJob } from '../thread/lane-task.ts';

/*
 * Generated writes of many callers, which share transactions here, beside better-sqlite3 with a connection of its own for
 * each write. Every value of every answer, every error, and all rows at the end must be equal, whichever of the others fail.
 * `DIFFERENTIAL_BATCHES=5000 npx vitest run --project unit workers/writer/src/batch/differential.test.ts` runs for minutes.
 */

const BATCHES = Number(process.env['DIFFERENTIAL_BATCHES'] ?? 25);

const SCHEMA = `
  CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE profiles(id INTEGER PRIMARY KEY, uid INTEGER REFERENCES users(id) ON DELETE CASCADE, a, b, c);
  CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE counted(k TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n < 6));
  CREATE TABLE guarded(what TEXT);
  CREATE TRIGGER guard AFTER INSERT ON guarded BEGIN
    INSERT INTO keyed VALUES (new.what || random(), 'trigger') ON CONFLICT DO NOTHING;
    SELECT CASE new.what WHEN 'rollback' THEN raise(ROLLBACK, 'no') WHEN 'fail' THEN raise(FAIL, 'no')
      WHEN 'abort' THEN raise(ABORT, 'no') WHEN 'ignore' THEN raise(IGNORE) END;
  END;
  CREATE VIEW shown AS SELECT id, name FROM users;
  CREATE TRIGGER into_shown INSTEAD OF INSERT ON shown BEGIN INSERT INTO users(name) VALUES (new.name); END;
  CREATE VIRTUAL TABLE words USING fts5(body);
`.replace('new.what || random()', 'new.what');

const VARIANTS: Readonly<Record<string, string>> = {
  plain: SCHEMA,
  'counters asked for in triggers': `${SCHEMA}
    CREATE TABLE log(id INTEGER PRIMARY KEY, what TEXT, rowid_seen, changes_seen);
    CREATE TRIGGER before_user BEFORE INSERT ON users BEGIN
      INSERT INTO log(what, rowid_seen, changes_seen) VALUES ('before', last_insert_rowid(), changes());
    END;
    CREATE TRIGGER after_user AFTER INSERT ON users BEGIN
      INSERT INTO log(what, rowid_seen, changes_seen) VALUES ('after', last_insert_rowid(), changes());
    END;
    CREATE TRIGGER after_update AFTER UPDATE ON users BEGIN
      UPDATE log SET changes_seen = changes() WHERE what = 'after' AND id = (SELECT max(id) FROM log);
    END;`,
  'deferred foreign keys': SCHEMA.replace(
    'ON DELETE CASCADE',
    'ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED',
  ),
};

type Random = () => number;

/** Imports are not generated. */
type Write = Exclude<WireOperation, WireRowsOperation>;

/** A statement without parameters; of values that meet each other often. */
function statement(random: Random): string {
  const pick = <T>(...values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const id = () => Math.floor(random() * 12) + 1;
  const name = () => `'n${Math.floor(random() * 15)}'`;
  const counter = () => pick('last_insert_rowid()', 'changes()', 'total_changes()', `${id()}`);
  return pick(
    () => `INSERT INTO users(name) VALUES (${name()})`,
    () => `INSERT INTO users(name, n) VALUES (${name()}, ${id()}), (${name()}, changes())`,
    () => `INSERT OR FAIL INTO users(name) VALUES ('f' || ${id()}), (${name()}), (${name()})`,
    () => `INSERT OR IGNORE INTO users(id, name) VALUES (${id()}, ${name()})`,
    () => `INSERT OR ROLLBACK INTO users(id, name) VALUES (${id()}, ${name()})`,
    () => `INSERT OR REPLACE INTO users(id, name) VALUES (${id()}, ${name()})`,
    () => `REPLACE INTO keyed VALUES (${name()}, ${counter()})`,
    () => `INSERT INTO keyed VALUES (${name()}, last_insert_rowid()) ON CONFLICT DO UPDATE SET v = changes()`,
    () => `INSERT INTO counted VALUES (${name()}, 1) ON CONFLICT DO UPDATE SET n = n + 1`,
    () =>
      `INSERT INTO counted VALUES (${name()}, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n, changes()`,
    () => `INSERT INTO profiles(uid) VALUES (last_insert_rowid())`,
    () => `INSERT INTO profiles(uid, a, b, c) VALUES (${id()}, ${counter()}, ${counter()}, ${counter()})`,
    () => `INSERT INTO profiles(a, b, c) SELECT last_insert_rowid(), changes(), total_changes()`,
    () => `INSERT INTO profiles(uid) VALUES (${pick(id(), 77)}) RETURNING id, uid`,
    () => `INSERT INTO shown(name) VALUES (${name()})`,
    () =>
      `INSERT INTO guarded VALUES (${pick("'fine'", "'fine'", "'rollback'", "'fail'", "'abort'", "'ignore'")})`,
    () => `INSERT INTO guarded VALUES ('fine'), (${pick("'fail'", "'ignore'", "'abort'")}), ('fine')`,
    () => `UPDATE users SET n = n + 1 WHERE id < ${id()}`,
    () => `UPDATE users SET n = changes() WHERE id <= ${id()} RETURNING id, n`,
    () => `UPDATE OR FAIL users SET name = ${name()} WHERE id < ${id()}`,
    () => `UPDATE profiles SET uid = ${pick(id(), 77)} WHERE id = ${id()}`,
    () => `DELETE FROM users WHERE id = ${id()}`,
    () => `DELETE FROM profiles WHERE id > ${id()}`,
    () => `DELETE FROM keyed`,
    () => `INSERT INTO words VALUES ('w' || last_insert_rowid())`,
    () => `DELETE FROM words WHERE rowid = ${id()}`,
    () => 'SELECT last_insert_rowid(), changes(), total_changes() AS "all", total_changes()',
    () => 'SELECT total_changes ( /* of all */ ) + 0, changes(), count(*) FROM users',
    () => 'SELECT id, name, n FROM users ORDER BY id LIMIT 3',
    () => `INSERT INTO nope VALUES (${id()})`,
  )();
}

/** Statements that make and undo virtual tables; names from a few, so that they meet each other. */
function schemaStatement(random: Random): string {
  const pick = <T>(...values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const table = pick('v1', 'v2');
  return pick(
    () => `CREATE VIRTUAL TABLE ${table} USING ${pick('fts4', 'fts5')}(body)`,
    () => `DROP TABLE IF EXISTS ${table}`,
    () => `INSERT INTO ${table}(body) VALUES ('one'), ('two')`,
    () => `DELETE FROM ${table}`,
    () => `CREATE TABLE IF NOT EXISTS ${table}(body)`,
  )();
}

function write(random: Random, virtualTables: boolean): readonly [sql: string[], op: Write] {
  // A virtual table writes rows of its own when a transaction or savepoint ends, and both counters of changes count them.
  const virtual = virtualTables && random() < 0.5;
  const suits = (sql: string) => !(virtual ? /changes\b/ : /words|v1|v2/).test(sql);
  const one = () => {
    for (;;) {
      const sql = random() < 0.06 ? schemaStatement(random) : statement(random);
      if (suits(sql)) return sql;
    }
  };
  const statements = (most: number) => Array.from({ length: 1 + Math.floor(random() * most) }, one);
  const kind = random();
  if (kind < 0.55) return [statements(1), { s: 0 }];
  const sql = statements(6);
  if (kind < 0.75) return [sql, { t: sql.map((_, s) => ({ s })) }];
  if (kind < 0.82) return [[sql.join(';\n')], { x: 0 }];
  // Steps: statements on their own, and between BEGIN and its end.
  const steps = statements(3);
  if (random() < 0.7)
    steps.push('BEGIN', ...statements(4), random() < 0.8 ? 'COMMIT' : 'ROLLBACK', ...statements(2));
  return [steps, { q: steps.map((_, s) => ({ s })) }];
}

/** Puts a write's SQL texts behind those of the job. */
function shifted(op: Write, by: number): Write {
  if ('t' in op) return { t: op.t.map(({ s }) => ({ s: s + by })) };
  if ('x' in op) return { x: op.x + by };
  if ('q' in op) return { q: op.q.map(({ s }) => ({ s: s + by })) };
  return { s: op.s + by };
}

/** Runs one write as plain SQLite would: on a connection of its own. */
function runBare(file: string, sql: readonly string[], op: Write): unknown {
  const db = new Database(file);
  try {
    db.pragma('synchronous = OFF');
    db.pragma('foreign_keys = ON');
    if ('q' in op) return op.q.map(({ s }) => attempt(() => runOne(db, sql[s]!)));
    if ('t' in op)
      return attempt(() => ({ t: inTransaction(db, () => op.t.map(({ s }) => runOne(db, sql[s]!))) }));
    if ('x' in op) return attempt(() => inTransaction(db, () => db.exec(sql[op.x]!) && { t: [] }));
    return attempt(() => runOne(db, sql[op.s]!));
  } finally {
    db.close();
  }
}

function attempt(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return { e: (error as { code: string }).code };
  }
}

function inTransaction<Result>(db: Database.Database, run: () => Result): Result {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = run();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function runOne(db: Database.Database, sql: string): unknown {
  const inserts = /^(insert|replace)/i.test(sql);
  const changesRows = inserts || /^(update|delete)/i.test(sql);
  const rowid = () => (inserts ? db.prepare('SELECT last_insert_rowid()').pluck().get() : 0);
  if (/^(begin|commit|rollback)/i.test(sql)) {
    db.exec(sql);
    return [0, 0];
  }
  const statement = db.prepare(sql);
  if (!statement.reader) {
    const { changes, lastInsertRowid } = statement.run();
    return [changesRows ? changes : 0, inserts ? lastInsertRowid : 0];
  }
  const r = statement.raw().all();
  const n = changesRows ? db.prepare('SELECT changes()').pluck().get() : 0;
  return { c: statement.columns().map(({ name }) => name), r, n, i: rowid() };
}

/** An answer in the form of {@link runBare}. */
function shown(result: WireOperationResult): unknown {
  if ('q' in result) {
    return result.q.map(step =>
      step === 0 ? 'skipped' : 'e' in step ? { e: step.e.details?.sqliteCode ?? step.e.code } : plain(step.r),
    );
  }
  if ('e' in result) return { e: result.e.details?.sqliteCode ?? result.e.code };
  if ('t' in result) return { t: result.t.map(plain) };
  return plain(result as WireStatementResult);
}

const plain = (result: WireStatementResult): unknown => result;

/** All rows of all tables, in the order in which they lie. */
function contents(file: string): unknown {
  const db = new Database(file, { readonly: true });
  try {
    const tables = db
      .prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_onewriter%' ESCAPE '\\' ORDER BY name",
      )
      .raw()
      .all() as [string, string][];
    return tables
      .filter(([name]) => !/_(data|idx|config|docsize|segments|segdir|stat|content)$/.test(name))
      .map(([name, sql]) => [name, sql, db.prepare(`SELECT * FROM "${name}"`).raw().all()]);
  } finally {
    db.close();
  }
}

it.each(Object.keys(VARIANTS))(
  'each caller sees only its own work: %s',
  name => {
    const peerDir = mkdtempSync(join(tmpdir(), 'onewriter-differential-'));
    onTestFinished(() => rmSync(peerDir, { recursive: true, force: true }));
    for (let seed = 1; seed <= BATCHES; seed++) {
      const random = createRandom(seed * 7_919 + name.length);
      // A file for some batches; the first writes of a file see other counters of the connection than later ones.
      const peer = join(peerDir, `${seed}.db`);
      const lane = new TemporaryLane();
      lane.applyOne(script(VARIANTS[name]!));
      new Database(peer).exec(`PRAGMA journal_mode = WAL; ${VARIANTS[name]!}`).close();
      for (let batch = 0; batch < 4; batch++) {
        const jobs: QueuedJob[] = [];
        const expected: unknown[] = [];
        const texts: string[][] = [];
        for (let count = 1 + Math.floor(random() * 4); count > 0; count--) {
          const sql: string[] = [];
          const ops: WireOperation[] = [];
          for (let writes = 1 + Math.floor(random() * 5); writes > 0; writes--) {
            const [ownSql, op] = write(random, !name.includes('triggers'));
            ops.push(shifted(op, sql.length));
            sql.push(...ownSql);
            texts.push(ownSql);
            expected.push(runBare(peer, ownSql, op));
          }
          jobs.push(queuedJob(sql, ops));
        }
        const answers = lane.apply(...jobs).flatMap(job => resultsOf(job).map(shown));
        for (const [index, answer] of answers.entries()) {
          expect({ seed, batch, index, sql: texts[index], answer }).toEqual({
            seed,
            batch,
            index,
            sql: texts[index],
            answer: expected[index],
          });
        }
        expect({ seed, batch, contents: contents(lane.file) }).toEqual({
          seed,
          batch,
          contents: contents(peer),
        });
      }
      lane.lane.close();
      rmSync(lane.options.dataDir, { recursive: true, force: true });
    }
  },
  600_000,
);
