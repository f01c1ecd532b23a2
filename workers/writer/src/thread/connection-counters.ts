import { SqlTokens } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { lazily } from '../batch/lazily.ts';

/** Rows that only count as changes; below every rowid that a caller can have set. */
const FIRST_FILLER = -(2n ** 63n);

/** Values of SQLite's three counters. */
export interface CounterValues {
  readonly rowid: bigint;
  readonly changes: number;
  readonly total: number;
}

/**
 * `last_insert_rowid()`, `changes()` and `total_changes()` of one connection.
 *
 * SQLite keeps them per connection. Here all callers of a tenant share the connection, and the writer's bookkeeping changes
 * the counters too. Each write must see the values of a connection of its own: 0 at first, and then the effects of its own
 * statements. SQLite has no call to set them, but rows of a temporary table do:
 *
 *   last_insert_rowid()   insert a row with that id
 *   changes()             change that many rows
 *   total_changes()       only grows: the number at the start of the write is subtracted in the text of a statement
 *
 * Statements in a trigger or a view cannot be rewritten, so `total_changes()` counts from an unknown start there.
 */
export class ConnectionCounters {
  readonly #db: Database;
  readonly #setRowid: Statement<[bigint | number]>;
  readonly #noChanges: () => Statement<[]>;
  readonly #read: Statement<[], [rowid: bigint, changes: bigint, total: bigint]>;
  readonly #fill: () => Statement<[{ first: bigint; count: number }]>;
  readonly #unfill: () => Statement<[bigint]>;
  readonly #empty: () => Statement<[]>;
  /** The value of `changes()` for the current write; undefined: SQLite's own. */
  #changes: number | undefined;
  /** `total_changes()` when the write began. */
  #totalBefore = 0;

  constructor(db: Database) {
    this.#db = db;
    db.exec('CREATE TEMP TABLE _onewriter_rowid(id INTEGER PRIMARY KEY)');
    this.#setRowid = db.prepare('INSERT OR REPLACE INTO temp._onewriter_rowid VALUES (?)');
    this.#noChanges = lazily(() => db.prepare('DELETE FROM temp._onewriter_rowid WHERE 0'));
    this.#read = db
      .prepare<[], [bigint, bigint, bigint]>('SELECT last_insert_rowid(), changes(), total_changes()')
      .raw(true)
      .safeIntegers(true);
    this.#fill = lazily(() =>
      db.prepare(`
        INSERT INTO temp._onewriter_rowid
        WITH RECURSIVE filler(id) AS (VALUES (@first) UNION ALL SELECT id + 1 FROM filler LIMIT @count)
        SELECT id FROM filler`),
    );
    this.#unfill = lazily(() => db.prepare('DELETE FROM temp._onewriter_rowid WHERE id < ?'));
    this.#empty = lazily(() => db.prepare('DELETE FROM temp._onewriter_rowid'));
  }

  /** The counters as the current write sees them. */
  read(): CounterValues {
    const [rowid, changes, total] = this.#read.get()!;
    return {
      rowid,
      changes: this.#changes ?? Number(changes),
      total: Number(total) - this.#totalBefore,
    };
  }

  /** Makes the last rowid 0; this changes `changes()`. */
  clearRowid(): void {
    this.#setRowid.run(0);
  }

  /** Makes the last rowid 0, and leaves the other counters as the write sees them. */
  clearOwnRowid(): void {
    this.#changes ??= Number(this.#read.get()![1]);
    this.clearRowid();
    this.#totalBefore++;
  }

  /**
   * Begins a write with the counters of a new connection: the last rowid after {@link clearOwnRowid}, `changes()`
   * after {@link settle}.
   * @param total whether to reset `total_changes()`, too
   */
  startAnew(total: boolean): void {
    this.#changes = 0;
    if (total) this.#countTotalFrom(0);
  }

  /** Undoes the effect of bookkeeping since {@link read} on the counters. `changes()` waits until a statement asks for it. */
  restore(values: CounterValues): void {
    this.#setRowid.run(values.rowid);
    this.#empty().run();
    this.#changes = values.changes;
    this.#countTotalFrom(values.total);
  }

  /**
   * A statement of the caller has changed rows.
   * @param changes how many, for {@link settle}; undefined: SQLite's own count.
   */
  changed(changes?: number): void {
    this.#changes = changes;
  }

  /**
   * Corrects `changes()` for a statement that asks for it: after bookkeeping, or after a full-text index wrote its own rows at the
   * end of a savepoint. Costs as much as changing those rows did.
   */
  settle(): void {
    const wanted = this.#changes;
    this.#changes = undefined;
    if (wanted === undefined) return;
    const { rowid, changes, total } = this.read();
    if (changes === wanted) return;
    if (wanted === 0) {
      this.#noChanges().run();
      return;
    }
    this.#fill().run({ first: FIRST_FILLER, count: wanted });
    this.#setRowid.run(rowid);
    this.#unfill().run(FIRST_FILLER + BigInt(wanted));
    this.#countTotalFrom(total);
  }

  /** Makes `total_changes()` equal `total` for the current write. */
  #countTotalFrom(total: number): void {
    this.#totalBefore = Number(this.#read.get()![2]) - total;
  }

  /** The statement with `total_changes()` counted from the start of the write; compiled each time, because that differs. */
  compileWithTotal(sql: string): Statement<unknown[], unknown> {
    return this.#db.prepare(subtractFromTotal(sql, this.#totalBefore));
  }
}

/** Replaces `total_changes()` outside of strings, names and comments. */
function subtractFromTotal(sql: string, before: number): string {
  const tokens = new SqlTokens(sql);
  let text = '';
  let copied = 0;
  /** Start of an incomplete call, and its missing tokens. */
  let start = -1;
  let wanted = '';
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (kind === 'word' && tokens.text.toLowerCase() === 'total_changes') {
      start = tokens.start;
      wanted = '()';
    } else if (start >= 0 && kind === 'other' && tokens.text === wanted[0]) {
      wanted = wanted.slice(1);
      if (wanted === '') {
        text += `${sql.slice(copied, start)}(total_changes()-(${before}))`;
        copied = tokens.end;
        start = -1;
      }
    } else start = -1;
  }
  return text + sql.slice(copied);
}
