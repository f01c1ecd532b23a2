import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { judgePlan, type PlanStep, type ProgramStep, returnsEachRow } from './read-plan.ts';

const SCHEMA = `
  CREATE TABLE board(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE task(id INTEGER PRIMARY KEY, board INTEGER, title TEXT, parent INTEGER);
  CREATE INDEX task_board ON task(board);
  CREATE VIRTUAL TABLE note USING fts5(text);
`;

describe('the cost of a read', () => {
  it.each([
    ['search', 'SELECT * FROM task WHERE id = 1'],
    ['search', 'SELECT * FROM task WHERE board = 1 ORDER BY title'],
    ['search', 'SELECT count(*) FROM task JOIN board ON board.id = task.board WHERE task.board = 1'],
    ['search', 'SELECT 1'],
    ['search', "SELECT name FROM sqlite_schema WHERE type = 'table'"],
    ['search', 'SELECT max(id) FROM task'],
    ['scan', 'SELECT * FROM task'],
    ['scan', "SELECT * FROM task WHERE title LIKE '%x%'"],
    ['scan', 'SELECT task.*, board.name FROM task LEFT JOIN board ON board.id = task.board'],
    ['scan', 'SELECT * FROM board UNION ALL SELECT id, title FROM task'],
    ['scan', "SELECT * FROM note WHERE note MATCH 'x'"],
    ['scan', "SELECT * FROM task WHERE id IN (SELECT value FROM json_each('[1, 2]'))"],
    ['scan', 'SELECT (SELECT count(*) FROM task WHERE board = board.id) FROM board'],
    ['scan', 'SELECT * FROM board WHERE id IN (SELECT board FROM task)'],
    ['range', 'SELECT * FROM task WHERE id > 1 ORDER BY id LIMIT 10'],
    ['scan', 'SELECT * FROM task a JOIN task b ON a.title = b.title WHERE a.id > 1'],
    ['scan', 'SELECT * FROM task a JOIN task b ON b.id > a.parent WHERE a.board = 1'],
    [
      'scan',
      "SELECT * FROM pragma_table_list l, pragma_index_list(l.name) i, pragma_index_info(i.name) c WHERE l.type = 'table'",
    ],
    ['costly', 'SELECT count(*) FROM task a, task b WHERE a.board >= 0 AND b.board >= 0'],
    ['costly', 'SELECT (SELECT count(*) FROM task WHERE id > b.id) FROM board b'],
    [
      'costly',
      'SELECT count(*) FROM pragma_function_list a, pragma_function_list, pragma_function_list c, note',
    ],
    ['costly', "SELECT count(*) FROM json_each('[1]') a, json_each('[1]') b"],
    [
      'costly',
      "SELECT count(*) FROM json_each('[1]') a WHERE EXISTS (SELECT 1 FROM json_each('[1]') b WHERE b.value > a.value)",
    ],
    ['scan', "SELECT count(*) FROM json_each('[1]') a JOIN task ON task.id = a.value"],
    ['costly', 'SELECT count(*) FROM task, board'],
    ['costly', 'SELECT count(*) FROM task a JOIN task b ON a.title > b.title'],
    ['costly', 'SELECT (SELECT count(*) FROM task WHERE title > board.name) FROM board'],
    ['costly', 'SELECT * FROM board WHERE EXISTS (SELECT 1 FROM task WHERE title > board.name)'],
    ['costly', 'WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'],
    ['costly', 'SELECT * FROM (WITH n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT i FROM n LIMIT 3)'],
  ])('is %s: %s', (cost, sql) => {
    const db = new Database(':memory:');
    onTestFinished(() => void db.close());
    db.exec(SCHEMA);
    const plan = db.prepare<[], PlanStep>(`EXPLAIN QUERY PLAN ${sql}`).all();
    expect(judgePlan(plan, sql.includes('pragma_'))).toBe(cost);
  });
});

it.each([
  [true, 'SELECT * FROM task WHERE id > 1 ORDER BY id LIMIT 10'],
  [true, 'SELECT id, title || 1 FROM task WHERE id < 9 ORDER BY id DESC'],
  [true, 'SELECT * FROM task WHERE board > 1'],
  [true, 'SELECT id FROM task WHERE board < 9 ORDER BY board DESC LIMIT 3'],
  [false, 'SELECT * FROM task WHERE id > 1 AND title = 1'],
  [false, "SELECT * FROM task WHERE id > 1 AND title LIKE '%x%' LIMIT 1"],
  [false, 'SELECT count(*) FROM task WHERE id > 1'],
  [false, 'SELECT * FROM task WHERE id > 1 ORDER BY title LIMIT 1'],
  [false, 'SELECT DISTINCT board FROM task WHERE board > 1'],
  [false, 'SELECT * FROM task WHERE id > 1 LIMIT 1 OFFSET 100000'],
])('a range that returns each row it visits: %s for %s', (expected, sql) => {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  db.exec(SCHEMA);
  expect(returnsEachRow(db.prepare<[], ProgramStep>(`EXPLAIN ${sql}`).all())).toBe(expected);
});
