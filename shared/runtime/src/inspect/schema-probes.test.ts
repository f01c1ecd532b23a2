import { describe, expect, it } from 'vitest';
import { eventOf, judgeProbes, type ProbedTable, probesOf } from './schema-probes.ts';

const TABLE: ProbedTable = {
  name: 'a "b"',
  type: 'table',
  column: 'c',
  parents: ['parent'],
  indexes: ['i'],
  triggers: [
    { name: 'on_insert', sql: 'CREATE TRIGGER on_insert AFTER INSERT ON t BEGIN DELETE FROM u; END' },
    { name: 'on_update', sql: 'CREATE TRIGGER on_update UPDATE OF c ON t BEGIN SELECT 1; END' },
  ],
};
const probes = probesOf(TABLE);
/** What is found where the statements that begin so are refused. */
const judge = (refusals: Readonly<Record<string, string>>) =>
  judgeProbes(
    TABLE,
    probes,
    probes.map(({ sql }) => Object.entries(refusals).find(([begins]) => sql.startsWith(begins))?.[1]),
  );

describe('the probes of a schema', () => {
  it('use a table, its indexes and what its triggers fire on', () => {
    expect(probes.map(({ sql }) => sql)).toEqual([
      'SELECT * FROM main."a ""b"""',
      'SELECT * FROM main."a ""b""" UNION SELECT * FROM main."a ""b"""',
      'REINDEX main."i"',
      'INSERT INTO main."a ""b""" DEFAULT VALUES',
      'UPDATE main."a ""b""" SET "c" = "c"',
      'DELETE FROM main."a ""b"""',
    ]);
    const view: ProbedTable = { ...TABLE, type: 'view', column: undefined, indexes: [] };
    expect(probesOf(view).map(({ about }) => about.kind)).toEqual(['read', 'compare', 'action']);
    expect(probesOf({ ...view, type: 'shadow' })).toHaveLength(2);
  });

  it('find nothing where nothing is refused', () => {
    expect(judge({})).toEqual({ error: undefined, indexes: new Map(), triggers: new Map() });
  });

  it('find a trigger that fires on what is refused', () => {
    const { error, triggers } = judge({ INSERT: 'no such table: main.gone' });
    expect([error, [...triggers]]).toEqual([undefined, [['on_insert', 'no such table: main.gone']]]);
  });

  it('do not blame a trigger for a table that a key refers to, nor for an index', () => {
    const key = judge({ INSERT: 'no such table: main.parent' });
    expect([key.error, key.triggers.size]).toEqual(['INSERT: no such table: main.parent', 0]);
    const index = judge({ REINDEX: 'unknown function: f()', INSERT: 'unknown function: f()' });
    expect([index.error, [...index.indexes], index.triggers.size]).toEqual([
      undefined,
      [['i', 'unknown function: f()']],
      0,
    ]);
  });

  it('use a comparison only for its collation errors', () => {
    const both = 'SELECT * FROM main."a ""b""" UNION';
    expect(judge({ [both]: 'no such collation sequence: x' }).error).toBe('no such collation sequence: x');
    expect(judge({ [both]: 'too many terms in compound SELECT' }).error).toBeUndefined();
  });
});

describe('the event of a trigger', () => {
  it.each([
    ['CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM t; END', 'INSERT'],
    ['CREATE TRIGGER "delete" /* update */ INSTEAD OF UPDATE OF a ON t BEGIN SELECT 1; END', 'UPDATE'],
    ['create trigger if not exists [insert] before delete on t begin select 1; end', 'DELETE'],
    ['CREATE TRIGGER a BEGIN DELETE FROM t; END', undefined],
  ])('of %s is %s', (sql, event) => expect(eventOf(sql)).toBe(event));
});
