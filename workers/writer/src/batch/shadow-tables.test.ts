import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ShadowTables } from './shadow-tables.ts';

function open() {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  const shadows = new ShadowTables(db);
  return {
    db,
    run: (sql: string) => {
      const compiled = shadows.compile(sql);
      shadows.run(compiled, () => void compiled.statement.run());
    },
  };
}

describe('ShadowTables', () => {
  it('lets a script fill the shadow tables of a virtual table that it has made', () => {
    const made = new Database(':memory:');
    made.exec(
      `CREATE VIRTUAL TABLE "f t" USING fts5(a, content=''); INSERT INTO "f t"(rowid, a) VALUES (7, 'one two')`,
    );
    const { db, run } = open();
    run(`CREATE VIRTUAL TABLE "f t" USING fts5(a, content='')`);
    for (const name of ['data', 'idx', 'docsize', 'config']) {
      run(`DELETE FROM "f t_${name}"`);
      for (const row of made.prepare(`SELECT * FROM "f t_${name}"`).raw().all() as unknown[][]) {
        const values = row.map(value =>
          Buffer.isBuffer(value)
            ? `x'${value.toString('hex')}'`
            : typeof value === 'string'
              ? `'${value}'`
              : value,
        );
        run(`INSERT INTO "f t_${name}" VALUES (${values})`);
      }
    }
    made.close();
    const find = db.prepare(`SELECT rowid FROM "f t" WHERE "f t" MATCH ?`).pluck();
    expect(find.all('two')).toEqual([7]);
    run(`INSERT INTO "f t"(rowid, a) VALUES (8, 'two three')`);
    expect(find.all('two')).toEqual([7, 8]);
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  });

  it('leaves all others protected', () => {
    const { db, run } = open();
    db.exec(`CREATE VIRTUAL TABLE old USING fts5(a, content='')`);
    const refused = /may not be modified/;
    expect(() => run('DELETE FROM old_data')).toThrow(refused);
    run(`CREATE VIRTUAL TABLE IF NOT EXISTS old USING fts5(a, content='')`);
    expect(() => run('DELETE FROM old_data')).toThrow(refused);
    run(`CREATE VIRTUAL TABLE new USING fts5(a, content='')`);
    expect(() => run('DELETE FROM old_data')).toThrow(refused);
    run('DELETE FROM new_docsize');
    expect(() => db.exec('DELETE FROM new_docsize')).toThrow(refused);
  });
});
