import { describe, expect, it } from 'vitest';
import { locateStatements, splitScript, takeStatements } from './split-script.ts';

describe('splitScript', () => {
  it.each<[string, string[]]>([
    ['', []],
    [' ;; -- nothing\n/* ; */', []],
    ['SELECT 1', ['SELECT 1']],
    ['SELECT 1;SELECT 2;', ['SELECT 1', 'SELECT 2']],
    ['\uFEFF-- first\nSELECT 1 /* a;b */ ; -- c;d\n SELECT 2 -- e', ['SELECT 1', 'SELECT 2']],
    [
      "INSERT INTO t VALUES ('a;b''c;'); SELECT \"x;y\", `z;`, [w;]",
      ["INSERT INTO t VALUES ('a;b''c;')", 'SELECT "x;y", `z;`, [w;]'],
    ],
    [
      'CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = CASE WHEN 1 THEN 2 ELSE 3 END; DELETE FROM u; END; SELECT 1',
      [
        'CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = CASE WHEN 1 THEN 2 ELSE 3 END; DELETE FROM u; END',
        'SELECT 1',
      ],
    ],
    [
      'create temp trigger if not exists a after insert on t begin select 1; end /* ; */ ; select 2',
      ['create temp trigger if not exists a after insert on t begin select 1; end', 'select 2'],
    ],
    ['CREATE TABLE trigger_log(a); SELECT 1', ['CREATE TABLE trigger_log(a)', 'SELECT 1']],
    [
      'EXPLAIN QUERY PLAN CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END; SELECT 2',
      ['EXPLAIN QUERY PLAN CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END', 'SELECT 2'],
    ],
    [
      'EXPLAIN CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END; SELECT 2',
      ['EXPLAIN CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END', 'SELECT 2'],
    ],
    [
      'CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;',
      ['CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;'],
    ],
    ["SELECT 'open; SELECT 2", ["SELECT 'open; SELECT 2"]],
    ["SELECT x'00;'; SELECT 2", ["SELECT x'00;'", 'SELECT 2']],
    ['SELECT :a;SELECT $b::c;', ['SELECT :a', 'SELECT $b::c']],
  ])('splits %j', (script, expected) => {
    expect(splitScript(script)).toEqual(expected);
  });

  it('refuses a script with a NUL', () => {
    expect(() => splitScript('SELECT 1;\0 SELECT 2')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('splits a script of a hundred thousand statements in linear time', () => {
    expect(splitScript('SELECT 1;'.repeat(100_000))).toHaveLength(100_000);
  });
});

it('says where statements begin', () => {
  const script = "-- ;\nSELECT ';';;\n\n /* ; */ SELECT 2";
  expect(locateStatements(script)).toEqual([
    { sql: "SELECT ';'", start: script.indexOf('SELECT') },
    { sql: 'SELECT 2', start: script.indexOf('SELECT 2') },
  ]);
});

describe('takeStatements', () => {
  it.each([
    ['SELECT 1', [], 'SELECT 1'],
    ['SELECT 1; SELECT', ['SELECT 1'], ' SELECT'],
    [';; -- none\n', [], ' -- none\n'],
    ["INSERT INTO t VALUES (';')\n  ;\n", ["INSERT INTO t VALUES (';')"], '\n'],
    [
      'CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;',
      [],
      'CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;',
    ],
    ["SELECT 'half ; of a string", [], "SELECT 'half ; of a string"],
  ])('of %j', (text, statements, rest) => {
    const located = statements.map(sql => ({ sql, start: text.indexOf(sql) }));
    expect(takeStatements(text)).toEqual({ statements: located, rest });
  });
});
