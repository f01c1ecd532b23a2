import {
  fingerprintImport,
  hashRow,
  type ImportMark,
  NO_MARK,
  RowsHash,
  type WireOperationResult,
  type WireRow,
} from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { queuedJob, resultsOf, script, TemporaryLane } from '../../test-support/temporary-lane.ts';

const INSERT = 'INSERT INTO "t" ("id", "v") VALUES (?, ?)';
const PRINT = fingerprintImport('t', 'reject', false);

/** Rows as they travel. */
const toWire = (rows: readonly (readonly unknown[] | 0)[]) =>
  rows.map(row => (row === 0 ? 0 : [0, ...row])) as WireRow[];

function hashOf(rows: readonly (readonly unknown[] | 0)[], numbers: readonly number[]): string {
  const hash = new RowsHash();
  rows.forEach((row, index) => {
    if (row !== 0) hash.toggle(hashRow(numbers[index]!, INSERT, JSON.stringify(row).slice(1, -1)));
  });
  return hash.toString();
}

class Import {
  readonly lane = new TemporaryLane();

  constructor(columns = 'id INTEGER PRIMARY KEY, v CHECK (v > 0)') {
    this.lane.applyOne(script(`CREATE TABLE t(${columns}); CREATE TABLE u(id);`));
  }

  piece(
    rows: readonly (readonly unknown[] | 0)[],
    at: number | readonly number[],
    more: object = {},
  ): WireOperationResult {
    const numbers = typeof at === 'number' ? rows.map((_, index) => at + index) : at;
    const m = { k: 'key', f: PRINT, at, h: hashOf(rows, numbers), max: 100, ...more };
    return resultsOf(this.lane.applyOne(queuedJob([INSERT], [{ w: toWire(rows), m }])))[0]!;
  }

  mark(): ImportMark {
    return (this.piece([], -1) as { m: ImportMark }).m;
  }

  get rows(): unknown[][] {
    return this.lane.rows('SELECT id, v FROM t ORDER BY id');
  }
}

describe('a piece of an import', () => {
  it('is applied where the mark is, once', () => {
    const it = new Import();
    expect(it.mark()).toEqual(NO_MARK);
    const [first, second] = [
      [
        [1, 10],
        [2, 20],
      ],
      [[3, 30]],
    ];
    expect(it.piece(second!, 2)).toEqual({ m: NO_MARK }); // too early
    expect(it.piece(first!, 0)).toEqual({ w: 2, n: 2 });
    const afterFirst = { n: 2, h: hashOf(first!, [0, 1]), r: [] };
    expect(it.piece(first!, 0)).toEqual({ m: afterFirst }); // too late
    expect(it.piece(second!, 2)).toEqual({ w: 1, n: 3 });
    expect(it.mark()).toEqual({ n: 3, h: hashOf([...first!, ...second!], [0, 1, 2]), r: [] });
    expect(it.rows).toEqual([
      [1, 10],
      [2, 20],
      [3, 30],
    ]);
    expect(it.lane.rows('SELECT key, result FROM sqlite_onewriter_keys')).toHaveLength(1);
  });

  it('refuses rows alone, lists them in the mark, and lets only them be tried again', () => {
    const it = new Import();
    const rows = [[1, 10], [1, 11], [2, -1], 0, [3, 30]] as const;
    const result = it.piece(rows, 0);
    expect(result).toMatchObject({
      w: 2,
      n: 5,
      r: [
        [1, { code: 'CONSTRAINT_VIOLATION', details: { sqliteCode: 'SQLITE_CONSTRAINT_PRIMARYKEY' } }],
        [2, { details: { sqliteCode: 'SQLITE_CONSTRAINT_CHECK' } }],
      ],
    });
    expect(it.mark()).toEqual({ n: 5, h: hashOf([rows[0], rows[4]], [0, 4]), r: [1, 2, 3] });
    const again = [
      [4, 40],
      [2, -2],
    ];
    expect(it.piece(again, [1, 2])).toMatchObject({ w: 1, n: 5, r: [[2, { code: 'CONSTRAINT_VIOLATION' }]] });
    expect(it.mark()).toEqual({ n: 5, h: hashOf([rows[0], again[0]!, rows[4]], [0, 1, 4]), r: [2, 3] });
    // Row 1 is applied by now.
    expect(it.piece(again, [1, 2])).toHaveProperty('m');
    expect(it.rows).toEqual([
      [1, 10],
      [3, 30],
      [4, 40],
    ]);
  });

  it('ends in front of the row that comes after too many refused ones', () => {
    const it = new Import();
    const rows = [[1, 1], [2, -1], 0, [3, -1], [4, 4]] as const;
    expect(it.piece(rows, 0, { max: 1 })).toMatchObject({ w: 1, n: 3 });
    expect(it.mark()).toEqual({ n: 3, h: hashOf([rows[0]], [0]), r: [1, 2] });
    expect(it.piece([[3, 3]], 3, { max: 3 })).toEqual({ w: 1, n: 4 });
    expect(it.mark().h).toBe(hashOf([rows[0], [3, 3]], [0, 3]));
  });

  it('counts the rows whose INSERT changed nothing', () => {
    const it = new Import();
    const [plain, ignoring] = [INSERT, INSERT.replace('INSERT', 'INSERT OR IGNORE')];
    const hash = new RowsHash();
    const rows = [
      [0, 1, 10],
      [1, 1, 11],
      [1, 2, 20],
      [1, 3, -1],
    ];
    rows.forEach(([sql, ...values], index) => {
      hash.toggle(hashRow(index, [plain, ignoring][sql!]!, JSON.stringify(values).slice(1, -1)));
    });
    const m = { k: 'key', f: PRINT, at: 0, h: hash.toString(), max: 100 };
    const job = queuedJob([plain, ignoring], [{ w: rows as unknown as WireRow[], m }]);
    expect(resultsOf(it.lane.applyOne(job))[0]).toEqual({ w: 4, i: 2, n: 4 });
    expect(it.rows).toEqual([
      [1, 10],
      [2, 20],
    ]);
  });

  it('binds values exactly', () => {
    const it = new Import('id, v TEXT');
    it.piece(
      [
        [5, 5],
        [{ f: '5' }, { f: '5' }],
        [{ i: '9007199254740993' }, 1.5],
        [{ b: 'AP8=' }, null],
        [{ f: '-Infinity' }, 'x'],
      ],
      0,
    );
    expect(it.lane.rows("SELECT typeof(id) || ' ' || quote(id), quote(v) FROM t")).toEqual([
      ['integer 5', "'5'"],
      ['real 5.0', "'5.0'"],
      ['integer 9007199254740993', "'1.5'"],
      ["blob X'00FF'", 'NULL'],
      ['real -9.0e+999', "'x'"],
    ]);
  });

  it('leaves nothing where it fails as a whole, and says why', () => {
    const it = new Import();
    it.lane.applyOne(
      script(
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.id = 9 BEGIN SELECT RAISE(ROLLBACK, 'no nine'); END",
      ),
    );
    const rows = [
      [1, 1],
      [9, 1],
    ];
    expect(it.piece(rows, 0)).toMatchObject({ e: { code: 'CONSTRAINT_VIOLATION', message: 'no nine' } });
    expect(it.mark()).toEqual(NO_MARK);
    expect(it.piece([rows[0]!], 0)).toEqual({ w: 1, n: 1 });
    expect(it.rows).toEqual([[1, 1]]);
  });

  it('refuses a key that is used for something else, and what is malformed', () => {
    const it = new Import();
    it.lane.applyOne(queuedJob(['INSERT INTO u VALUES (1)'], [{ s: 0, k: 'key' }]));
    expect(it.piece([[1, 1]], 0)).toMatchObject({ e: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    expect(it.piece([[1, 1]], 0, { k: 'other' })).toEqual({ w: 1, n: 1 });
    expect(it.piece([[2, 1]], 1, { k: 'other', f: 'another' })).toMatchObject({
      e: { code: 'IDEMPOTENCY_KEY_REUSED' },
    });
    const write = queuedJob(['INSERT INTO u VALUES (1)'], [{ s: 0, k: 'other' }]);
    expect(resultsOf(it.lane.applyOne(write))[0]).toMatchObject({ e: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    for (const more of [{ at: [0, 1] }, { h: 'x' }, { max: 5_000 }, { at: 1.5 }, { k: '' }]) {
      expect(it.piece([[2, 1]], 1, more)).toMatchObject({ e: { code: 'INVALID_ARGUMENT' } });
    }
    const update = { w: [[0, 1]], m: { k: 'u', f: PRINT, at: 0, h: NO_MARK.h, max: 0 } };
    expect(resultsOf(it.lane.applyOne(queuedJob(['UPDATE t SET v = ?'], [update])))[0]).toMatchObject({
      r: [[0, { code: 'INVALID_ARGUMENT' }]],
    });
    expect(it.rows).toEqual([[1, 1]]);
  });

  it('continues an import whose rows have keys of their own, from an older version', () => {
    const it = new Import();
    const old = queuedJob(
      [INSERT],
      [0, 2].map(number => ({ s: 0, p: [number, 1], k: `key:${number}` })),
    );
    it.lane.applyOne(old);
    const rows = [0, 1, 2, 3].map(number => [number, 1]);
    expect(it.piece(rows, 0)).toEqual({ w: 2, s: 2, n: 4 });
    expect(it.rows).toEqual(rows);
    expect(it.mark()).toEqual({ n: 4, h: hashOf(rows, [0, 1, 2, 3]), r: [] });
  });

  it('is all or nothing as a step, and names the row', () => {
    const it = new Import();
    const rows = [
      [1, 1],
      [2, -1],
    ];
    const step = (at: number, piece: readonly (readonly unknown[])[]) => ({
      s: 0,
      w: {
        w: toWire(piece),
        m: {
          k: 'key',
          f: PRINT,
          at,
          h: hashOf(
            piece,
            piece.map((_, index) => at + index),
          ),
          max: 0,
          a: 1,
        },
      },
    });
    const run = (...steps: object[]) =>
      resultsOf(
        it.lane.applyOne(queuedJob([INSERT, 'BEGIN', 'COMMIT'], [{ q: [{ s: 1 }, ...steps, { s: 2 }] }])),
      )[0];
    expect(run(step(0, rows))).toMatchObject({
      q: [{}, { e: { code: 'CONSTRAINT_VIOLATION', details: { row: 1 } } }, {}],
    });
    expect(it.rows).toEqual([]);
    expect(run(step(0, [rows[0]!]), step(1, [[3, 3]]))).toMatchObject({
      q: [{}, { r: [1, 0] }, { r: [1, 0] }, {}],
    });
    expect(it.mark()).toMatchObject({ n: 2 });
    expect(run(step(0, [[7, 7]]))).toMatchObject({ q: [{}, { e: { code: 'IDEMPOTENCY_KEY_REUSED' } }, {}] });
    expect(it.rows).toEqual([
      [1, 1],
      [3, 3],
    ]);
  });
});
