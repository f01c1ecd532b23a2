import { newJobId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  queuedJob,
  resultsOf,
  script,
  TemporaryLane,
  verdicts,
  writes,
} from '../../test-support/temporary-lane.ts';

const codes = (job: Parameters<typeof resultsOf>[0]) =>
  resultsOf(job).map(result => ('e' in result ? result.e.code : 'ok'));

describe('lastInsertRowid', () => {
  it("is never another write's", () => {
    const lane = new TemporaryLane();
    lane.applyOne(
      script(`
      CREATE TABLE a(id INTEGER PRIMARY KEY, n);
      CREATE TABLE b(id INTEGER PRIMARY KEY, n);
      CREATE TABLE k(key TEXT PRIMARY KEY, n) WITHOUT ROWID;
      CREATE TABLE u(key TEXT PRIMARY KEY, n);
      CREATE VIEW v AS SELECT * FROM a;
      CREATE TRIGGER into_v INSTEAD OF INSERT ON v BEGIN INSERT INTO a(n) VALUES (new.n); END;
    `),
    );
    const upsert = "INSERT INTO u VALUES ('x', 1) ON CONFLICT DO UPDATE SET n = n + 1";
    const statements: [string, number][] = [
      ['INSERT INTO a(n) VALUES (1)', 1],
      ['INSERT INTO b(n) VALUES (1)', 1], // the same number, and its own
      ["INSERT INTO k VALUES ('x', 1)", 0],
      ['INSERT INTO a(id) VALUES (77)', 77],
      ["INSERT INTO k VALUES ('y', 1)", 0],
      [upsert, 1],
      ['INSERT INTO a(id) VALUES (78)', 78],
      [upsert, 0],
      [`${upsert} RETURNING n`, 0],
      ['INSERT OR IGNORE INTO a(id) VALUES (78)', 0],
      ['INSERT INTO a(id) VALUES (90), (78)', 0], // fails after its first row
      ["INSERT INTO k VALUES ('z', 1)", 0],
      ['UPDATE a SET n = 5', 0],
      ['DELETE FROM a WHERE id = 78', 0],
      ['INSERT INTO a(id) VALUES (78) RETURNING id', 78],
      ['INSERT INTO v(n) VALUES (1)', 0],
      ['INSERT INTO b(id) VALUES (9223372036854775807)', Number.POSITIVE_INFINITY],
      ["INSERT INTO k VALUES ('zz', 1)", 0],
    ];
    const job = lane.applyOne(writes(...statements.map(([sql]) => sql)));
    const rowids = resultsOf(job).map(result =>
      'e' in result ? 0 : Array.isArray(result) ? result[1] : 'i' in result ? result.i : undefined,
    );
    expect(rowids).toEqual(
      statements.map(([, rowid]) =>
        rowid === Number.POSITIVE_INFINITY ? { i: '9223372036854775807' } : rowid,
      ),
    );
    expect(lane.rows('SELECT n FROM u')).toEqual([[3]]);
    // Once more, now that the statements are known.
    const [again] = lane.apply(
      queuedJob(
        ['INSERT INTO a(id) VALUES (500)', upsert, 'INSERT INTO k VALUES (?, 1)'],
        [{ t: [{ s: 0 }, { s: 1 }, { s: 2, p: ['q'] }] }],
      ),
    );
    expect(resultsOf(again)).toEqual([
      {
        t: [
          [1, 500],
          [1, 500], // inserts no row: as SQLite, the one before
          [1, 500],
        ],
      },
    ]);
  });

  it('is that of the transaction so far, as on a connection of its own', () => {
    const lane = new TemporaryLane();
    lane.applyOne(
      script(
        'CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(id INTEGER PRIMARY KEY); CREATE TABLE k(id TEXT PRIMARY KEY) WITHOUT ROWID',
      ),
    );
    const sql = ['INSERT INTO a DEFAULT VALUES', 'INSERT INTO b DEFAULT VALUES', 'INSERT INTO k VALUES (?)'];
    const job = lane.applyOne(
      queuedJob(sql, [{ t: [{ s: 0 }, { s: 1 }, { s: 2, p: ['x'] }, { s: 0 }, { s: 2, p: ['y'] }] }]),
    );
    expect(resultsOf(job)).toEqual([
      {
        t: [
          [1, 1],
          [1, 1],
          [1, 1],
          [1, 2],
          [1, 2],
        ],
      },
    ]);
    expect(
      lane.rows('SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM k)'),
    ).toEqual([[2, 1, 2]]);
  });

  it('stays where an upsert inserts and then updates in one transaction', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE u(key TEXT PRIMARY KEY, n)'));
    const upsert = 'INSERT INTO u VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1';
    const twice = (key: string) => ({
      t: [
        { s: 0, p: [key] },
        { s: 0, p: [key] },
      ],
    });
    // The long text is not kept compiled, so nothing is remembered of it.
    const job = lane.applyOne(
      queuedJob(
        [upsert, `${upsert} -- ${'x'.repeat(30_000)}`],
        [twice('a'), { t: [...twice('b').t.map(one => ({ ...one, s: 1 }))] }],
      ),
    );
    expect(resultsOf(job)).toEqual([
      {
        t: [
          [1, 1],
          [1, 1],
        ],
      },
      {
        t: [
          [1, 2],
          [1, 2],
        ],
      },
    ]);
  });
});

describe('OR FAIL', () => {
  it('keeps the rows before, but for a write with a key, whose repeat would add them again', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a NOT NULL)'));
    const sql = ['INSERT OR FAIL INTO t VALUES (?), (NULL)'];
    const [plain, ...keyed] = lane.apply(
      queuedJob(sql, [{ s: 0, p: [1] }]),
      ...[1, 2].map(() => queuedJob(sql, [{ s: 0, p: [2], k: 'key' }])),
    );
    expect([plain, ...keyed].map(verdicts)).toEqual(Array(3).fill(['SQLITE_CONSTRAINT_NOTNULL']));
    expect(lane.rows('SELECT a FROM t')).toEqual([[1]]);
  });
});

describe('last_insert_rowid(), changes() and total_changes()', () => {
  const transaction = (...sql: string[]) => queuedJob(sql, [{ t: sql.map((_, s) => ({ s })) }]);

  it("are those of the caller's own statements, from the first one on", () => {
    const lane = new TemporaryLane();
    lane.apply(
      script('CREATE TABLE users(id INTEGER PRIMARY KEY, n); CREATE TABLE seen(a, b, c)'),
      writes('INSERT INTO users(n) VALUES (1), (2), (3), (4), (5)'),
    );
    const look = 'INSERT INTO seen SELECT last_insert_rowid(), changes(), total_changes()';
    lane.apply(
      transaction(look, 'UPDATE users SET n = 7', look, 'INSERT INTO users(id) VALUES (70)', look),
      writes(look),
      script(`${look}; UPDATE users SET n = 8; ${look}`),
    );
    expect(lane.rows('SELECT * FROM seen')).toEqual([
      [0, 0, 0],
      [1, 5, 6],
      [70, 1, 8],
      [0, 0, 0],
      [0, 0, 0],
      [5, 6, 7],
    ]);
  });

  it('refer to the row that the statement before has inserted, on a tenant that was just made', () => {
    const lane = new TemporaryLane();
    const jobs = lane.apply(
      script(
        'CREATE TABLE users(id INTEGER PRIMARY KEY); CREATE TABLE profiles(uid NOT NULL REFERENCES users(id))',
      ),
      transaction('INSERT INTO users DEFAULT VALUES', 'INSERT INTO profiles VALUES (last_insert_rowid())'),
    );
    expect(jobs.map(verdicts)).toEqual([['ok'], ['ok']]);
    expect(lane.rows('SELECT uid FROM profiles')).toEqual([[1]]);
  });
});

describe('a transaction', () => {
  it('is all or nothing, and names the statement that failed', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, n)'));
    const sql = [
      'INSERT INTO t VALUES (?, 0)',
      'UPDATE t SET n = n + 1 WHERE id = ?',
      'SELECT n FROM t WHERE id = ?',
    ];
    const job = lane.applyOne(
      queuedJob(sql, [
        {
          t: [
            { s: 0, p: [1] },
            { s: 1, p: [1], e: { changes: 1 } },
            { s: 2, p: [1], e: { rows: 1 } },
          ],
        },
        {
          t: [
            { s: 0, p: [2] },
            { s: 1, p: [99], e: { changes: 1 } },
          ],
        },
        {
          t: [
            { s: 0, p: [3] },
            { s: 2, p: [99], e: { rows: 1 } },
          ],
        },
        {
          t: [
            { s: 0, p: [4] },
            { s: 0, p: [1] },
          ],
        },
        { s: 1, p: [99], e: { changes: 1 } },
        { t: [{ s: 0, p: [5] }, { s: 7 }] },
      ]),
    );
    expect(resultsOf(job)).toMatchObject([
      { t: [[1, 1], [1, 0], { r: [[1]] }] },
      { e: { code: 'EXPECTATION_FAILED', details: { statementIndex: 1, expected: 1, actual: 0 } } },
      { e: { code: 'EXPECTATION_FAILED', details: { statementIndex: 1 } } },
      {
        e: {
          code: 'CONSTRAINT_VIOLATION',
          details: { statementIndex: 1, sqliteCode: 'SQLITE_CONSTRAINT_PRIMARYKEY' },
        },
      },
      { e: { code: 'EXPECTATION_FAILED' } },
      { e: { code: 'INVALID_ARGUMENT', details: { statementIndex: 1 } } },
    ]);
    expect(lane.rows('SELECT * FROM t')).toEqual([[1, 1]]);
  });
});

describe('a script', () => {
  it('runs triggers, strings and comments with semicolons, atomically', () => {
    const lane = new TemporaryLane();
    const job = lane.apply(
      script(`-- a board; with a log
        CREATE TABLE t(a TEXT); CREATE TABLE log(a TEXT);
        CREATE TRIGGER copy AFTER INSERT ON t BEGIN
          INSERT INTO log VALUES (CASE WHEN new.a = ';' THEN 'semi' ELSE new.a END);
          INSERT INTO log VALUES ('second');
        END;
        INSERT INTO t VALUES (';'), ('END; x'); SELECT * FROM t;`),
      script("INSERT INTO t VALUES ('lost'); INSERT INTO nowhere VALUES (1); INSERT INTO t VALUES ('never')"),
      script("INSERT INTO t VALUES (1); ATTACH 'x' AS y"),
      script('-- nothing'),
    );
    expect(job.map(one => resultsOf(one)[0])).toMatchObject([
      { t: [] },
      {
        e: {
          code: 'SQL_ERROR',
          message: 'no such table: nowhere',
          details: { sqliteCode: 'SQLITE_ERROR', statementIndex: 1 },
        },
      },
      { e: { code: 'STATEMENT_NOT_ALLOWED', details: { statementIndex: 1 } } },
      { t: [] },
    ]);
    expect(lane.column('SELECT a FROM log')).toEqual(['semi', 'second', 'END; x', 'second']);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
  });
});

describe('statements', () => {
  it('are refused or fail with a code of their own', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY) STRICT'));
    const job = lane.applyOne(
      queuedJob(
        [
          'SELEC 1',
          'INSERT INTO t VALUES (?)',
          'INSERT INTO t VALUES (@id)',
          'BEGIN',
          'DELETE FROM sqlite_onewriter_ledger',
          "SELECT load_extension('x')",
          'COMMIT; SELECT 1',
        ],
        [
          { s: 0 },
          { s: 1 },
          { s: 1, p: [1, 2] },
          { s: 2, p: [1, 2] },
          { s: 2, p: { other: 1 } },
          { s: 2, p: { id: 1 } },
          { s: 3 },
          { s: 4 },
          { s: 5 },
          { s: 6 },
          { s: 1, p: [{ z: 1 }] },
          { s: 1, p: [{ i: 'x' }] },
          { s: 1, p: [[1]] },
          { s: 1, p: [true] },
          { s: 1, p: ['text'] },
          { s: 1, p: [{ i: '99999999999999999999' }] },
          null,
          { s: 'length' },
          {},
          { t: 5 },
        ],
      ),
    );
    expect(codes(job)).toEqual([
      'SQL_ERROR',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'ok',
      'STATEMENT_NOT_ALLOWED',
      'STATEMENT_NOT_ALLOWED',
      'SQL_ERROR',
      'STATEMENT_NOT_ALLOWED',
      'INVALID_VALUE',
      'INVALID_VALUE',
      'INVALID_VALUE',
      'INVALID_ARGUMENT',
      'SQL_ERROR',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
    ]);
  });

  it('show no values in their errors', () => {
    const lane = new TemporaryLane();
    const job = lane.applyOne(
      writes(
        "SELECT 'public' 'secret' 'x'",
        'SELECT 1 1.2345',
        "SELECT json_extract('{}', '$secret')",
        "SELECT 'secret",
        'SELECT 1 FORM t',
      ),
    );
    const messages = resultsOf(job).map(result => ('e' in result ? result.e.message : ''));
    expect(messages.join('\n')).not.toMatch(/secret|1\.2345/);
    expect(messages[4]).toContain('"t"');
  });

  it('see a change of the schema in their rows', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    const insert = 'INSERT INTO t(a) VALUES (1) RETURNING *';
    const job = lane.applyOne(
      writes(insert, 'ALTER TABLE t ADD COLUMN b', insert, 'ALTER TABLE t RENAME COLUMN b TO c', insert),
    );
    expect(resultsOf(job).map(result => 'c' in result && result.c)).toEqual([
      ['a'],
      false,
      ['a', 'b'],
      false,
      ['a', 'c'],
    ]);
  });

  it('that return too much are rolled back', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    const many =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO t SELECT i FROM n RETURNING a';
    const wide = 'INSERT INTO t VALUES (zeroblob(?)) RETURNING a';
    const job = lane.applyOne(
      queuedJob(
        [many, wide],
        [
          { s: 0, p: [100_001] },
          { s: 0, p: [2] },
          { s: 1, p: [4_000_000] },
          {
            t: [
              { s: 1, p: [2_000_000] },
              { s: 1, p: [2_000_000] },
            ],
          },
          { s: 1, p: [10] },
        ],
      ),
    );
    expect(codes(job)).toEqual(['RESULT_TOO_LARGE', 'ok', 'RESULT_TOO_LARGE', 'RESULT_TOO_LARGE', 'ok']);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([3]);
  });

  it('whose results do not fit an event leave them to the ledger', () => {
    const lane = new TemporaryLane();
    const job = lane.applyOne(writes("SELECT printf('%.*c', 70000, 'x') AS a"));
    expect(job).toMatchObject({ results: '', failures: 0, commitSeq: 1 });
    const [stored] = lane.column<string>('SELECT results FROM sqlite_onewriter_ledger');
    expect(JSON.parse(stored!)).toEqual([{ c: ['a'], r: [['x'.repeat(70_000)]], n: 0, i: 0 }]);
  });
});

describe('an idempotency key', () => {
  const insert = (key: string, n: number) =>
    queuedJob(['INSERT INTO t(n) VALUES (@n)'], [{ s: 0, p: { n }, k: key }]);

  it('applies a write once, in one batch and later', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE)'));
    const [first, twin, other] = lane.apply(
      insert('order-77', 1),
      insert('order-77', 1),
      insert('order-77', 2),
    );
    const { commitSeq } = lane;
    expect(resultsOf(first)).toEqual([[1, 1, commitSeq]]);
    expect(resultsOf(twin)).toEqual([[1, 1, commitSeq]]);
    expect(codes(other)).toEqual(['IDEMPOTENCY_KEY_REUSED']);
    expect(resultsOf(lane.applyOne(insert('order-77', 1)))).toEqual([[1, 1, commitSeq]]);
    expect(lane.commitSeq).toBeGreaterThan(commitSeq);
    expect(lane.rows('SELECT * FROM t')).toEqual([[1, 1]]);
  });

  it("gives a repeat the commit of the first, whatever the write's kind", () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, n)'));
    const sql = ['INSERT INTO t(n) VALUES (1)', 'INSERT INTO t(n) VALUES (1) RETURNING n'];
    const steps = [{ s: 0 }, { s: 1 }];
    const kinds = [{ s: 0 }, { s: 1 }, { t: steps }, { x: 0 }, { q: steps }];
    const job = () =>
      queuedJob(
        sql,
        kinds.map((op, index) => ({ ...op, k: `key-${index}` })),
      );
    const first = resultsOf(lane.applyOne(job()));
    const { commitSeq } = lane;
    const seqs = first.map(result => (Array.isArray(result) ? result[2] : 'seq' in result && result.seq));
    expect(seqs).toEqual(kinds.map(() => commitSeq));
    lane.applyOne(writes(sql[0]!));
    expect(resultsOf(lane.applyOne(job()))).toEqual(first);
    expect(lane.commitSeq).toBe(commitSeq + 2);
  });

  it('that an older broker stored, without its commit, is answered with that of the ledger while it has it', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, n)'));
    const op = [{ s: 0, k: 'rows' }];
    const rows = () => queuedJob(['INSERT INTO t(n) VALUES (\',"seq":1}\') RETURNING n'], op);
    lane.apply(insert('plain', 1), rows());
    const { commitSeq } = lane;
    const asBefore =
      "SET result = CASE key WHEN 'plain' THEN '[1,1]' ELSE replace(result, ',\"seq\":' || ?, '') END";
    lane.lane.run({ kind: 'close', tenant: null });
    const file = new Database(lane.file);
    file.prepare(`UPDATE sqlite_onewriter_keys ${asBefore}`).run(`${commitSeq}}`);
    file.exec("UPDATE sqlite_onewriter_keys SET result = result || '}' WHERE key = 'rows'");
    file.close();
    const [plain, withRows] = lane.apply(insert('plain', 1), rows());
    expect(resultsOf(plain)).toEqual([[1, 1, commitSeq]]);
    expect(resultsOf(withRows)).toEqual([{ c: ['n'], r: [[',"seq":1}']], n: 1, i: 2, seq: commitSeq }]);
    expect(lane.column('SELECT count(*) FROM t')).toEqual([2]);
    // The ledger was pruned: it is unknown now.
    lane.lane.run({ kind: 'close', tenant: null });
    const pruned = new Database(lane.file);
    pruned.exec(
      'DELETE FROM sqlite_onewriter_ledger; DELETE FROM sqlite_onewriter_jobs; UPDATE sqlite_onewriter_state SET commit_seq = 9',
    );
    pruned.close();
    expect(resultsOf(lane.applyOne(insert('plain', 1)))).toEqual([[1, 1]]);
  });

  it('is not used up by a write that failed', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE); INSERT INTO t(n) VALUES (1)'));
    expect(verdicts(lane.applyOne(insert('k', 1)))).toEqual(['SQLITE_CONSTRAINT_UNIQUE']);
    lane.applyOne(writes('DELETE FROM t'));
    expect(verdicts(lane.applyOne(insert('k', 1)))).toEqual(['ok']);
    expect(codes(lane.applyOne(insert('', 1)))).toEqual(['INVALID_ARGUMENT']);
    expect(codes(lane.applyOne(insert('x'.repeat(256), 1)))).toEqual(['INVALID_ARGUMENT']);
  });

  it('knows a transaction or script from another by all that it does', () => {
    const lane = new TemporaryLane();
    const sql = ['SELECT ?', 'SELECT 1'];
    const ops = [
      { s: 1 },
      { x: 1 },
      { t: [{ s: 1 }] },
      { t: [{ s: 0, p: [1] }] },
      { t: [{ s: 0, p: [2] }] },
      { t: [{ s: 1, e: { rows: 1 } }] },
    ];
    const job = lane.applyOne(
      queuedJob(
        sql,
        ops.map(op => ({ ...op, k: 'same' })),
      ),
    );
    expect(codes(job)).toEqual(['ok', ...Array(5).fill('IDEMPOTENCY_KEY_REUSED')]);
    // The order of named parameters and the job's own numbering are no difference.
    const named = (p: object, texts: string[]) =>
      queuedJob(texts, [{ s: texts.indexOf('SELECT @a, @b'), p, k: 'named' }]);
    const [one, two] = lane.apply(
      named({ a: 1, b: 2 }, ['SELECT @a, @b']),
      named({ b: 2, a: 1 }, ['SELECT 0', 'SELECT @a, @b']),
    );
    expect(resultsOf(two)).toEqual(resultsOf(one));
  });
});

describe('a malformed write', () => {
  it('is answered alone, whatever it is', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    const sql = [
      'INSERT INTO t VALUES (?)',
      'INSERT INTO t VALUES (@a)',
      'SELECT ?',
      "INSERT OR ROLLBACK INTO t VALUES (';",
    ];
    const any = fc.jsonValue();
    const statement = fc.record({ s: fc.oneof(fc.nat(4), any), p: any, e: any }, { requiredKeys: ['s'] });
    const op = fc.oneof(
      any,
      statement,
      fc.record({ t: fc.oneof(any, fc.array(fc.oneof(statement, any))), k: any }, { requiredKeys: ['t'] }),
      fc.record({ x: fc.oneof(fc.nat(4), any), d: any }, { requiredKeys: ['x'] }),
    );
    fc.assert(
      fc.property(fc.array(op, { minLength: 1, maxLength: 6 }), ops => {
        const job = lane.applyOne(queuedJob(sql, ops));
        expect(job.error).toBeUndefined();
        expect(job.results === '' ? ops : resultsOf(job)).toHaveLength(ops.length);
        expect(job.results).not.toContain('"INTERNAL"');
        expect(lane.run([{ id: newJobId(), data: JSON.stringify(ops[0]) }])).toMatchObject({
          kind: 'applied',
        });
      }),
      { numRuns: 300 },
    );
  });
});
