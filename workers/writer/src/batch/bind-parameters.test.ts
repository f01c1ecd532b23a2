import { LIMITS, StatementParameters } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const db = new Database(':memory:');

/** The number that SQLite gives each of the parameters that a SELECT returns. */
function numbersOf(sql: string, parameters: StatementParameters): number[] {
  const values = Array(parameters.count).fill(null);
  return db
    .prepare<unknown[], { opcode: string; p1: number; p2: number }>(`EXPLAIN ${sql}`)
    .all(...parameters.toArguments(values))
    .filter(({ opcode }) => opcode === 'Variable')
    .sort((a, b) => a.p2 - b.p2)
    .map(({ p1 }) => p1);
}

function run(sql: string, values: Parameters<StatementParameters['toArguments']>[0]): unknown {
  return db
    .prepare<unknown[]>(sql)
    .raw()
    .get(...new StatementParameters(sql).toArguments(values));
}

function failure(sql: string, values: Parameters<StatementParameters['toArguments']>[0]): unknown {
  try {
    return run(sql, values);
  } catch (error) {
    const { code, message } = error as Error & { code: string };
    return `${code}: ${message}`;
  }
}

/** A parameter, and sometimes text around it in which nothing is one. */
const variable = fc.oneof(
  { arbitrary: fc.constant('?'), weight: 3 },
  { arbitrary: fc.integer({ min: 1, max: 12 }).map(number => `?${number}`), weight: 3 },
  { arbitrary: fc.constantFrom('?007', '?40', '?1/* ? */', '? -- :no\n', '/*?3*/?'), weight: 1 },
  {
    arbitrary: fc
      .tuple(
        fc.constantFrom(':', '@', '$', '#'),
        fc.constantFrom('a', 'A', 'b', 'a1', 'é', '__proto__', '_', 'a$b'),
      )
      .map(([sign, name]) => sign + name),
    weight: 4,
  },
  { arbitrary: fc.constantFrom(':1', '@2', '$12', ':007'), weight: 1 },
);

describe('the parameters of a statement', () => {
  it('have the numbers and names that SQLite gives them, and get the values of these', () => {
    fc.assert(
      fc.property(fc.array(variable, { minLength: 1, maxLength: 12 }), variables => {
        const sql = `SELECT ${variables.join(', \'?\' AS "?9", ')}`;
        const parameters = new StatementParameters(sql);
        const numbers = numbersOf(sql, parameters);
        expect(parameters.count).toBe(Math.max(...numbers));

        const byNumber = Array.from({ length: parameters.count }, (_, index) => index + 1);
        const texts = Array(numbers.length).fill('?');
        const expected = numbers.flatMap((number, index) => [number, texts[index]]).slice(0, -1);
        expect(run(sql, byNumber)).toEqual(expected);
        for (const values of [byNumber.slice(1), [...byNumber, 0], []]) {
          expect(failure(sql, values)).toContain(
            `The statement has ${byNumber.length} parameter${byNumber.length === 1 ? '' : 's'}, and `,
          );
        }

        // Each name with its sign; what nothing names can only be a plain `?`, or is not there at all.
        const named = parameters.names.flatMap((name, index) => (name === null ? [] : [[name, index + 1]]));
        const object = Object.fromEntries(named);
        const unnamed = numbers.find(number => parameters.names[number - 1] === null);
        if (unnamed === undefined) expect(run(sql, object)).toEqual(expected);
        else expect(failure(sql, object)).toContain(`no value for the parameter ${unnamed}, a plain "?"`);
        for (const [name] of named) {
          const { [String(name)]: _, ...rest } = object;
          expect(failure(sql, rest)).toMatch(/^INVALID_ARGUMENT: There is no value for the parameter /);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('accept names with or without their signs, those with them first, and of more names only their own', () => {
    expect(run('SELECT :a, @a, $b', { a: 1, '@a': 2, b: 3, more: 4 })).toEqual([1, 2, 3]);
    expect(run('SELECT :a', { a: 1, ':a': 2 })).toEqual([2]);
    expect(run('SELECT ?1, ?2', { 1: 'x', '?2': 'y' })).toEqual(['x', 'y']);
    expect(run('SELECT 1', { a: 1 })).toEqual([1]);
    expect(run('SELECT :a', { a: null })).toEqual([null]);
    expect(run('SELECT :a, :a', Object.assign(Object.create(null), { a: 7 }))).toEqual([7, 7]);
    // Only own ones.
    expect(failure('SELECT :toString', {})).toBe(
      'INVALID_ARGUMENT: There is no value for the parameter :toString.',
    );
    expect(run('SELECT :__proto__', JSON.parse('{"__proto__":5}'))).toEqual([5]);
  });

  it('may be numbered with gaps, which need a place in an array and nothing in an object', () => {
    expect(run('SELECT ?3, ?1', ['one', 'two', 'three'])).toEqual(['three', 'one']);
    expect(run('SELECT ?3, ?1', { 1: 'one', 3: 'three' })).toEqual(['three', 'one']);
    expect(run('SELECT ?, ?5, ?', [1, 2, 3, 4, 5, 6])).toEqual([1, 5, 6]);
    const last = LIMITS.maxParameters;
    expect(run(`SELECT ?${last}`, { [last]: 'x' })).toEqual(['x']);
    expect(
      run(
        `SELECT ?${last}, ?1`,
        Array.from({ length: last }, (_, index) => index),
      ),
    ).toEqual([last - 1, 0]);
  });

  it('are as many as SQLite allows, and SQLite says what is wrong with more', () => {
    const last = LIMITS.maxParameters;
    expect(failure(`VALUES (?)${',(?)'.repeat(last - 1)}`, Array(last).fill(1))).toEqual([1]);
    expect(failure(`VALUES (?)${',(?)'.repeat(last)}`, Array(last + 1).fill(1))).toContain(
      'too many SQL variables',
    );
    for (const number of ['0', '32767', '99999999999999999999']) {
      expect(failure(`SELECT ?${number}`, [])).toContain('variable number must be between ?1 and ?32766');
    }
  });

  it('are the same each time that their statement runs', () => {
    const sql = 'SELECT :a, @a, ?, $a';
    const parameters = new StatementParameters(sql);
    const statement = db.prepare<unknown[]>(sql).raw();
    const bound = parameters.toArguments([1, 2, 3, 4]);
    for (let round = 0; round < 3; round++) {
      expect(statement.get(...bound)).toEqual([1, 2, 3, 4]);
      expect([...statement.iterate(...bound)]).toEqual([[1, 2, 3, 4]]);
    }
  });

  it('cost nothing where they are plain: the array is passed as it is', () => {
    const values = [1, 'two'];
    expect(new StatementParameters('SELECT ?, ?').toArguments(values)).toBe(values);
    const object = { a: 1 };
    expect(new StatementParameters('SELECT :a').toArguments(object)[0]).toBe(object);
  });
});
