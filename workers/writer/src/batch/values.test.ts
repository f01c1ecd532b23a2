import { decodeValue, encodeParameters, type SqlValue, type WireRows } from '@onewriter/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { queuedJob, resultsOf, script, TemporaryLane } from '../../test-support/temporary-lane.ts';

const value = fc.oneof(
  fc.constant(null),
  fc.double({ noNaN: true }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.string({ unit: 'binary' }),
  fc.uint8Array(),
);

/** The value that a caller gets back: an integer is a number where that is exact; SQLite has no negative zero and no integral doubles in bigint. */
function stored(given: SqlValue): SqlValue {
  if (typeof given === 'bigint') return Number.isSafeInteger(Number(given)) ? Number(given) : given;
  if (given instanceof Uint8Array) return Buffer.from(given);
  return given;
}

describe('values', () => {
  it('come back as they went in, through parameters, file and results', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE v(id INTEGER PRIMARY KEY, a BLOB, b BLOB)'));
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 20 }), values => {
        const positional = values.map(one => ({ s: 0, p: encodeParameters([one]) }));
        const named = values.map(one => ({ s: 1, p: encodeParameters({ one }) }));
        const job = lane.applyOne(
          queuedJob(
            ['INSERT INTO v(a) VALUES (?) RETURNING a', 'INSERT INTO v(a) VALUES (@one) RETURNING a'],
            [...positional, ...named],
          ),
        );
        const back = resultsOf(job).map(result => decodeValue((result as WireRows).r[0]![0]!));
        expect(back).toEqual([...values, ...values].map(stored));
      }),
      { numRuns: 200 },
    );
  });

  it('that SQL makes are never refused: infinities, large integers, text with any character', () => {
    const lane = new TemporaryLane();
    const job = lane.applyOne(
      queuedJob(
        ["SELECT 9e999, -9e999, 9223372036854775807, -9007199254740993, char(0, 128512), x'00ff', 0.5 - 0.5"],
        [{ s: 0 }],
      ),
    );
    const [row] = (resultsOf(job)[0] as WireRows).r;
    expect(row!.map(decodeValue)).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      9223372036854775807n,
      -9007199254740993n,
      '\0😀',
      Buffer.from([0, 255]),
      0,
    ]);
  });
});
