import { hashRow, type ImportMark, NO_MARK, OnewriterError, onAbort, RowsHash } from '@onewriter/protocol';
import type { ImportPiece, ImportPieceResult, Tenant, WaitOptions } from '@onewriter/sdk';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StreamRooms } from '../streams/stream-room.ts';
import type { ImportEvent } from './import-options.ts';
import type { ParsedRow } from './parse-rows.ts';
import { importRows } from './row-import.ts';

const SQL = 'INSERT INTO t VALUES (?)';

/** What happens to a piece on its way. */
type Fate = 'fine' | 'lost' | 'answer lost' | 'not now' | 'late';

/** A tenant's writer, in memory: it does what run-rows.ts does, and what is on its way to it may go wrong. */
class FakeWriter {
  readonly applied: string[] = [];
  /** Values that change nothing. */
  readonly ignores = new Set<string>();
  mark: ImportMark = NO_MARK;
  readonly refuses: ReadonlySet<string>;
  readonly ends: ReadonlySet<string>;
  readonly #fates: Fate[];
  readonly #refuses: ReadonlySet<string>;
  readonly #ends: ReadonlySet<string>;
  #commitSeq = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @param refuses values that are refused. @param ends values that end their piece. */
  constructor(
    fates: readonly Fate[],
    refuses: ReadonlySet<string> = new Set(),
    ends: ReadonlySet<string> = new Set(),
  ) {
    this.#refuses = refuses;
    this.#ends = ends;
    this.#fates = [...fates];
    this.refuses = refuses;
    this.ends = ends;
  }

  get tenant(): Tenant {
    return { importRows: (piece: ImportPiece) => this.#receive(piece) } as unknown as Tenant;
  }

  #receive(piece: ImportPiece): Promise<ImportPieceResult> {
    const fate = piece.at === -1 ? 'fine' : (this.#fates.shift() ?? 'fine');
    const answer = this.#last.then(async () => {
      if (fate === 'lost') throw new OnewriterError('OUTCOME_UNKNOWN', 'lost', { retryAfterMs: 1 });
      if (fate === 'not now') throw new OnewriterError('DATABASE_BUSY', 'busy', { retryAfterMs: 1 });
      const result = this.#apply(piece);
      if (fate === 'answer lost')
        throw new OnewriterError('OUTCOME_UNKNOWN', 'answer lost', { retryAfterMs: 1 });
      if (fate === 'late') await new Promise(resolve => setImmediate(resolve));
      return result;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  #apply({ at, rows, hash, maxRefused }: ImportPiece): ImportPieceResult {
    const commitSeq = ++this.#commitSeq;
    const { n, h, r } = this.mark;
    const fits = typeof at === 'number' ? at === n : at.every(number => r.includes(number));
    if (!fits) return { type: 'elsewhere', mark: this.mark, commitSeq };
    if (rows.some(row => row !== undefined && this.#ends.has(row.values))) {
      throw new OnewriterError('CONSTRAINT_VIOLATION', 'ended');
    }
    const sum = new RowsHash(h);
    sum.toggleAll(new RowsHash(hash));
    const left = new Set(r);
    const refused: { row: number; error: OnewriterError }[] = [];
    let next = n;
    let applied = 0;
    let ignored = 0;
    for (const [index, row] of rows.entries()) {
      const number = typeof at === 'number' ? at + index : at[index]!;
      const isOver = typeof at === 'number' && left.size > maxRefused;
      if (typeof at === 'number' && !isOver) next = number + 1;
      if (row !== undefined && !isOver && !this.#refuses.has(row.values)) {
        applied++;
        if (this.ignores.has(row.values)) ignored++;
        left.delete(number);
        this.applied.push(row.values);
        continue;
      }
      if (row !== undefined) sum.toggle(hashRow(number, row.sql, row.values));
      if (isOver) continue;
      left.add(number);
      if (row !== undefined)
        refused.push({ row: number, error: new OnewriterError('CONSTRAINT_VIOLATION', 'no') });
    }
    this.mark = { n: next, h: sum.toString(), r: [...left] };
    return { type: 'applied', applied, ignored, known: 0, next, refused, commitSeq };
  }
}

/** Rows in pieces of the body; `undefined` cannot be read. */
async function* pieces(values: readonly (string | undefined)[], size: number): AsyncGenerator<ParsedRow[]> {
  for (let from = 0; from < values.length; from += size) {
    yield values.slice(from, from + size).map((value, index): ParsedRow => {
      const at = { line: from + index + 1, bytes: 50 };
      return value === undefined
        ? { ...at, error: new OnewriterError('INVALID_ARGUMENT', 'unreadable') }
        : { ...at, row: { sql: SQL, values: value } };
    });
  }
}

interface RunOptions {
  readonly maxRejected?: number;
  readonly maxPieceRows?: number;
  readonly size?: number;
  readonly rooms?: StreamRooms;
  readonly tenant?: Tenant;
  readonly gone?: AbortSignal;
}

async function run(writer: FakeWriter, values: readonly (string | undefined)[], options: RunOptions = {}) {
  const { maxRejected = 100, maxPieceRows = 7, size = 10, rooms = new StreamRooms() } = options;
  const events: ImportEvent[] = [];
  for await (const event of importRows(pieces(values, size), {
    tenant: options.tenant ?? writer.tenant,
    idempotencyKey: 'k',
    fingerprint: 'f',
    maxRejected,
    maxPieceRows,
    writeTimeoutMs: 1_000,
    assertMayWrite: async () => {},
    stop: new AbortController().signal,
    gone: options.gone ?? new AbortController().signal,
    room: rooms.open('t'),
  })) {
    events.push(event);
  }
  return { rejected: events.filter(({ event }) => event === 'rejected'), end: events.at(-1)! };
}

const numbers = (count: number) => Array.from({ length: count }, (_, number) => String(number));
const fates = fc.array(fc.constantFrom<Fate>('fine', 'lost', 'answer lost', 'not now', 'late'), {
  maxLength: 30,
});

describe('importRows', () => {
  it('applies every good row once, in order, whatever happens to its pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fates,
        fc.integer({ min: 0, max: 120 }),
        fc.array(fc.nat(119), { maxLength: 10 }),
        fc.array(fc.nat(119), { maxLength: 3 }),
        fc.constantFrom(1, 3, 7),
        fc.constantFrom(1, 10, 200),
        async (happens, count, refused, ends, maxPieceRows, size) => {
          const values = numbers(count);
          const bad = new Set(refused.map(String));
          const ending = new Set(ends.map(String));
          const writer = new FakeWriter(happens, bad, ending);
          const first = await run(writer, values, { maxPieceRows, size });
          const good = values.filter(value => !bad.has(value) && !ending.has(value));
          expect(writer.applied).toEqual(good);
          expect(first.end).toMatchObject({
            event: 'done',
            rows: count,
            accepted: good.length,
            skipped: 0,
            rejected: count - good.length,
            unknown: 0,
          });
          const lines = values.flatMap((value, index) => (good.includes(value) ? [] : [index + 1]));
          expect(first.rejected.map(event => 'line' in event && event.line)).toEqual(lines);
          // Again, when nothing is wrong with the rows any more.
          const later = new FakeWriter(happens);
          later.mark = writer.mark;
          const second = await run(later, values, { maxPieceRows, size });
          expect(second.end).toMatchObject({
            event: 'done',
            accepted: count - good.length,
            skipped: good.length,
          });
          expect([...writer.applied, ...later.applied].map(Number).sort((a, b) => a - b)).toEqual(
            values.map(Number),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  it('counts the rows that change nothing, also those that are tried again', async () => {
    const writer = new FakeWriter(['late', 'fine', 'not now'], new Set(['3', '4']));
    for (const value of ['1', '4', '12']) writer.ignores.add(value);
    const { end } = await run(writer, numbers(20));
    expect(end).toMatchObject({ event: 'done', accepted: 18, ignored: 2 });
    const later = new FakeWriter([]);
    later.mark = writer.mark;
    later.ignores.add('4');
    expect((await run(later, numbers(20))).end).toMatchObject({ accepted: 2, ignored: 1, skipped: 18 });
  });

  it('refuses another file under the key, before it applies anything', async () => {
    const writer = new FakeWriter([], new Set(['3']));
    await run(writer, numbers(20));
    writer.applied.length = 0;
    const other = numbers(30).with(5, 'x');
    for (const values of [other, numbers(19), numbers(30).with(5, undefined as never)]) {
      const { end } = await run(writer, values);
      expect(end).toMatchObject({ event: 'failed', accepted: 0, error: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    }
    expect(writer.applied).toEqual([]);
    const { end } = await run(new FakeWriter([], new Set()), numbers(30));
    expect(end).toMatchObject({ event: 'done', accepted: 30 });
  });

  it('ends with the row that is one too many, and applies none behind it', async () => {
    const writer = new FakeWriter([], new Set(['3', '9', '11']));
    const { end, rejected } = await run(writer, [...numbers(20), undefined], { maxRejected: 2 });
    expect(writer.applied).toEqual(['0', '1', '2', '4', '5', '6', '7', '8', '10']);
    expect(rejected).toHaveLength(2);
    expect(end).toMatchObject({
      event: 'failed',
      accepted: 9,
      rejected: 3,
      error: { code: 'INVALID_ARGUMENT', details: { line: 12 } },
    });
  });

  it('holds no more rows than there is room for, over all imports of a tenant, and releases all of it', async () => {
    const limits = { maxTenantWrites: 40, maxTenantBytes: 1_000, maxWrites: 60, maxBytes: 10_000 };
    const rooms = new StreamRooms({ maxStreamWrites: 20, maxStreamBytes: 5_000, ...limits });
    const writers = Array.from({ length: 6 }, () => new FakeWriter(['late', 'fine', 'not now', 'late']));
    const ends = await Promise.all(writers.map(writer => run(writer, numbers(300), { rooms })));
    for (const { end } of ends) expect(end).toMatchObject({ event: 'done', accepted: 300 });
    // 1,000 bytes are 20 rows, and one more of each.
    expect(rooms.peak.tenantBytes).toBeGreaterThan(500);
    expect(rooms.peak.tenantBytes).toBeLessThanOrEqual(1_000 + 6 * 50);
    expect(rooms.used).toEqual({ streams: 0, writes: 0, bytes: 0 });
  });

  it('ends at once when its sender is gone, and says what may have been applied', async () => {
    const gone = new AbortController();
    const rooms = new StreamRooms();
    let sent = 0;
    let asked = 0;
    // As the client does it: what is on its way when the caller leaves may be applied.
    const tenant = {
      importRows: (piece: ImportPiece, { signal }: WaitOptions) => {
        if (signal!.aborted) return Promise.reject(new OnewriterError('ABORTED', 'gone'));
        if (piece.at === -1) {
          asked++;
          return Promise.resolve({ type: 'elsewhere', mark: NO_MARK, commitSeq: 0 });
        }
        sent += piece.rows.length;
        return new Promise((_, reject) => {
          onAbort(signal!, () => reject(new OnewriterError('OUTCOME_UNKNOWN', 'on its way')));
        });
      },
    } as unknown as Tenant;
    const ending = run(new FakeWriter([]), numbers(10_000), { tenant, gone: gone.signal, rooms, size: 500 });
    // All of its room is taken: it reads no further.
    while (rooms.used.writes < rooms.limits.maxStreamWrites) await new Promise(setImmediate);
    gone.abort();
    const { end } = await ending;
    expect(end).toMatchObject({ event: 'failed', error: { code: 'ABORTED' }, accepted: 0, unknown: sent });
    expect(sent).toBeGreaterThan(0);
    expect(asked).toBe(1);
    expect(rooms.used).toEqual({ streams: 0, writes: 0, bytes: 0 });
  });

  it('ends at once when its sender is gone while refused rows are tried again', async () => {
    const gone = new AbortController();
    const earlier = new FakeWriter([], new Set(['3']));
    await run(earlier, numbers(20));
    const tenant = {
      importRows: (piece: ImportPiece, { signal }: WaitOptions) => {
        if (piece.at === -1) return earlier.tenant.importRows(piece);
        return new Promise((_, reject) => {
          onAbort(signal!, () => reject(new OnewriterError('OUTCOME_UNKNOWN', 'on its way')));
          gone.abort();
        });
      },
    } as unknown as Tenant;
    const { end, rejected } = await run(earlier, numbers(20), { tenant, gone: gone.signal });
    expect(end).toMatchObject({ event: 'failed', error: { code: 'ABORTED' }, rejected: 0, unknown: 1 });
    expect(rejected).toEqual([]);
  });
});
