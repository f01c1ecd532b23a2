import { type ImportMark, LEDGER_INDEXED_TO, LEDGER_ROW_OF_JOB, LIMITS, newJobId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SettableClock } from '../../test-support/settable-clock.ts';
import { script, TemporaryLane, temporaryDataDir, writes } from '../../test-support/temporary-lane.ts';
import { TenantDatabase } from '../file/tenant-database.ts';
import type { NumberedCommit } from './ledger.ts';
import { addLedgerNote } from './ledger-index.ts';
import type { RetentionClock } from './retention-marks.ts';

const HOUR_MS = 60 * 60_000;
const DAY_MS = 24 * HOUR_MS;
/** When rows are committed; nothing is judged by it. */
const NOW_MS = 1_800_000_000_000;

function openTenant(
  dataDir = temporaryDataDir(),
  epoch = 1,
  retentionClock: RetentionClock = new SettableClock(),
): TenantDatabase {
  return TenantDatabase.open('acme', {
    dataDir,
    dbFile: 'a.db',
    createTenants: true,
    busyTimeoutMs: 0,
    exclusive: false,
    retentionClock,
    epoch,
  });
}

describe('pruning the ledger', () => {
  /** Records jobs that Redis got at `addedAt`. */
  const fill = ({ db, ledger }: TenantDatabase, rows: number, addedAt?: number) => {
    db.exec('BEGIN');
    const commit = ledger.advance(1)!;
    for (let row = 0; row < rows; row++) {
      ledger.record(commit, newJobId(), NOW_MS, null, '[]', false);
      ledger.noteJob(addedAt);
    }
    db.exec('COMMIT');
  };
  const count = ({ db }: TenantDatabase) =>
    db.prepare('SELECT count(*) FROM sqlite_onewriter_ledger').pluck().get();
  const keys = ({ db }: TenantDatabase) =>
    db.prepare('SELECT count(*) FROM sqlite_onewriter_keys').pluck().get();
  const storeKeys = (database: TenantDatabase, from: number, to: number) => {
    for (let key = from; key < to; key++) database.keys.store(`k${key}`, 'f', 'w', 0, NOW_MS, '[]');
    database.ledger.noteJob(undefined);
  };
  const open = () => {
    const clock = new SettableClock();
    const dataDir = temporaryDataDir();
    const database = openTenant(dataDir, 1, clock);
    onTestFinished(() => database.close());
    return { database, clock, dataDir };
  };

  it('deletes what is past its retention, a bounded number at a time', () => {
    const { database, clock } = open();
    fill(database, 450);
    database.ledger.prune();
    clock.advance(DAY_MS);
    fill(database, LIMITS.maxQueueDepth);
    const left: unknown[] = [];
    for (let step = 0; step < 4; step++) {
      database.ledger.prune();
      left.push(count(database));
    }
    expect(left).toEqual([1_250, 1_050, 1_000, 1_000]);
    // The next look is not before its time.
    fill(database, 5);
    database.ledger.prune();
    expect(count(database)).toBe(1_005);
  });

  it('keeps the newest rows and keys however far the clock goes', () => {
    const { database, clock } = open();
    fill(database, LIMITS.maxQueueDepth + 10);
    storeKeys(database, 0, LIMITS.maxQueueDepth + 10);
    database.ledger.prune();
    clock.advance(10_000 * DAY_MS);
    database.ledger.prune();
    expect(count(database)).toBe(LIMITS.maxQueueDepth);
    expect(keys(database)).toBe(LIMITS.maxQueueDepth);
  });

  it('deletes nothing that no mark of its own clock has seen grow old, whatever another clock says', () => {
    const { database, clock, dataDir } = open();
    fill(database, LIMITS.maxQueueDepth + 10);
    storeKeys(database, 0, LIMITS.maxQueueDepth + 10);
    database.ledger.prune();
    const other = new SettableClock('clock-2');
    other.advance(10_000 * DAY_MS);
    const moved = openTenant(dataDir, 2, other);
    moved.ledger.noteJob(undefined);
    moved.ledger.prune();
    other.advance(DAY_MS - 1);
    moved.ledger.prune();
    moved.close();
    expect([count(database), keys(database)]).toEqual([1_010, 1_010]);
    // Back on the first, which was not set back meanwhile, all begins again.
    clock.advance(2 * DAY_MS);
    const back = openTenant(dataDir, 3, clock);
    back.ledger.noteJob(undefined);
    back.ledger.prune();
    expect([count(back), keys(back)]).toEqual([1_010, 1_010]);
    clock.advance(DAY_MS);
    back.ledger.prune();
    expect([count(back), keys(back)]).toEqual([1_000, 1_000]);
    back.close();
  });

  it('deletes by number only what no deadline can ask for', () => {
    const { database, clock } = open();
    fill(database, 300);
    database.ledger.prune();
    clock.advance(LIMITS.maxTimeoutMs);
    fill(database, 100);
    fill(database, LIMITS.maxLedgerRows);
    for (let step = 0; step < 4; step++) database.ledger.prune();
    expect(count(database)).toBe(LIMITS.maxLedgerRows + 100);
  });

  it('deletes idempotency keys past their retention', () => {
    const { database, clock } = open();
    storeKeys(database, 0, 100);
    database.ledger.prune();
    clock.advance(DAY_MS - 1);
    storeKeys(database, 100, 100 + LIMITS.maxQueueDepth);
    database.ledger.prune();
    expect(keys(database)).toBe(100 + LIMITS.maxQueueDepth);
    clock.advance(10_001);
    database.ledger.prune();
    expect(keys(database)).toBe(LIMITS.maxQueueDepth);
    expect(database.keys.has('k99')).toBe(false);
    expect(database.keys.has('k100')).toBe(true);
  });

  it('keeps a key that was moved, although its row was there before the mark', () => {
    const { database, clock } = open();
    const mark = { next: 1, applied: 0, refused: [] } as unknown as ImportMark;
    database.keys.storeMark('import', 'f', 'w', 0, NOW_MS, mark);
    database.ledger.noteJob(undefined);
    database.ledger.prune();
    clock.advance(DAY_MS - 1);
    database.keys.storeMark('import', 'f', 'w', 0, NOW_MS, mark);
    storeKeys(database, 0, LIMITS.maxQueueDepth);
    clock.advance(1);
    database.ledger.prune();
    expect(database.keys.has('import')).toBe(true);
  });

  it('makes no mark before it knows when Redis got the newest job: another connection recorded jobs, too', () => {
    const { database, clock, dataDir } = open();
    fill(database, 300, 1_000);
    database.ledger.prune();
    fill(database, 10, 2_000);
    clock.advance(DAY_MS / 24);
    const again = openTenant(dataDir, 1, clock);
    again.ledger.prune();
    clock.advance(10_001);
    fill(again, LIMITS.maxQueueDepth, 3_000);
    again.ledger.prune();
    clock.advance(DAY_MS);
    again.ledger.prune();
    again.ledger.prune();
    expect(again.ledger.mayHavePruned(2_000)).toBe(true);
    again.close();
  });

  it('knows from when on it covers all jobs, also when it is opened again', () => {
    const { database, clock, dataDir } = open();
    const { ledger } = database;
    fill(database, 300, 1_000);
    ledger.prune();
    clock.advance(DAY_MS / 2);
    fill(database, 10, 2_000);
    ledger.prune();
    expect(ledger.mayHavePruned(1)).toBe(false);
    fill(database, LIMITS.maxQueueDepth, 3_000);
    clock.advance(DAY_MS / 2);
    ledger.prune();
    expect(ledger.mayHavePruned(1_000)).toBe(true);
    expect(ledger.mayHavePruned(1_001)).toBe(false);
    expect(ledger.mayHavePruned(undefined)).toBe(false);
    const again = openTenant(dataDir, 2, clock);
    expect(again.ledger.mayHavePruned(1_000)).toBe(true);
    expect(again.ledger.mayHavePruned(1_001)).toBe(false);
    again.close();
  });
});

/** Random numbers that are the same in each run. Source: mulberry32, by Tommy Ettinger. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

interface KnownJob {
  readonly id: number;
  readonly commit_seq: number;
  readonly next_op: number | null;
  readonly results: string;
}

/** A ledger beside its expected content. */
class WatchedLedger {
  readonly random: (below: number) => number;
  database: TenantDatabase;
  jobs = new Map<string, KnownJob>();
  commitSeq = 0;
  readonly gone = new Set<string>();
  readonly #dataDir = temporaryDataDir();
  readonly #clock = new SettableClock();
  #epoch = 1;

  constructor(seed: number) {
    this.random = randomFrom(seed);
    this.database = openTenant(this.#dataDir, 1, this.#clock);
  }

  get lastId(): number {
    let last = 0;
    for (const { id } of this.jobs.values()) last = Math.max(last, id);
    return last;
  }

  reopen(): void {
    this.database.close();
    this.database = openTenant(this.#dataDir, ++this.#epoch, this.#clock);
  }

  /** A transaction as a batch makes it: rows of new jobs and of known ones, or none at all. */
  commit(): void {
    const { database, random } = this;
    const { ledger } = database;
    const before = new Map(this.jobs);
    database.db.exec('BEGIN IMMEDIATE');
    expect(ledger.advance(this.#epoch - 1)).toBeUndefined();
    let commit = ledger.advance(this.#epoch)!;
    // As steps with transactions of their own do if a COMMIT is refused.
    if (random(4) === 0) {
      database.db.exec('SAVEPOINT books');
      for (let row = random(20); row >= 0; row--)
        ledger.record(commit, newJobId(), NOW_MS, null, '[]', false);
      ledger.seal(commit);
      database.db.exec('ROLLBACK TO books; RELEASE books');
      commit = ledger.advance(this.#epoch)!;
    }
    expect(commit.seq).toBe(this.commitSeq + 1);
    for (let row = random(3) === 0 ? random(40) : random(4); row > 0; row--) this.#record(commit);
    if (random(10) === 0) this.#prune();
    if (random(6) === 0) {
      database.rollback();
      this.jobs = before;
      return;
    }
    database.commit(commit);
    this.commitSeq++;
    for (const job of before.keys()) if (!this.jobs.has(job)) this.gone.add(job);
  }

  #record(commit: NumberedCommit): void {
    const { random } = this;
    const again = random(5) === 0 && this.jobs.size > 0;
    const job = again ? [...this.jobs.keys()].at(-1 - random(Math.min(60, this.jobs.size)))! : newJobId();
    const row = { next_op: random(3) === 0 ? random(9) : null, results: `[[1,${random(1e6)}]]` };
    const id = this.jobs.get(job)?.id ?? this.lastId + 1;
    // To look for a row that is not there is no mistake.
    this.database.ledger.record(commit, job, NOW_MS, row.next_op, row.results, again || random(3) === 0);
    this.jobs.set(job, { id, commit_seq: commit.seq, ...row });
  }

  /** All that is not among the newest is past its retention. */
  #prune(): void {
    // A mark of the present rows and no other; then two days later.
    this.database.db.exec('DELETE FROM sqlite_onewriter_marks WHERE id > 0');
    this.database.ledger.noteJob(undefined);
    this.#clock.advance(HOUR_MS);
    this.database.ledger.prune();
    this.#clock.advance(2 * DAY_MS);
    this.database.ledger.prune();
    const oldest = [...this.jobs].sort(([, a], [, b]) => a.id - b.id).slice(0, 200);
    for (const [job, { id }] of oldest) if (id <= this.lastId - LIMITS.maxQueueDepth) this.jobs.delete(job);
  }

  /** As a restore does, which continues from the ids of another file. */
  jump(): void {
    const { database, random } = this;
    const id = this.lastId + 1 + (random(2) === 0 ? random(40) : random(1e12));
    const jobId = `restore-${newJobId()}`;
    const commitSeq = this.commitSeq + 1 + random(5);
    database.db.transaction(() =>
      addLedgerNote(database.db, { id, jobId, commitSeq, committedAtMs: NOW_MS }),
    )();
    this.jobs.set(jobId, { id, commit_seq: commitSeq, next_op: null, results: '[]' });
    this.commitSeq = commitSeq;
  }

  check(): void {
    const { db, ledger } = this.database;
    const count = db.prepare('SELECT count(*) FROM sqlite_onewriter_ledger').pluck();
    expect(count.get()).toBe(this.jobs.size);
    const wrong = [...this.jobs].filter(([job, { commit_seq, next_op, results }]) => {
      const row = ledger.find(job);
      return row?.commit_seq !== commit_seq || row.next_op !== next_op || row.results !== results;
    });
    expect(wrong).toEqual([]);
    expect([...this.gone, newJobId(), ''].filter(job => ledger.find(job) !== undefined)).toEqual([]);
    expect(ledger.commitSeq()).toBe(this.commitSeq);
    // The index has what is before the last boundary, and nothing else.
    const boundary = this.lastId - (this.lastId % 16);
    const index = db.prepare('SELECT job_id, id FROM sqlite_onewriter_jobs').raw().all() as [
      string,
      number,
    ][];
    expect(index).toHaveLength([...this.jobs.values()].filter(({ id }) => id <= boundary).length);
    expect(index.filter(([job, id]) => this.jobs.get(job)?.id !== id)).toEqual([]);
    expect(db.prepare(`SELECT ${LEDGER_INDEXED_TO}`).pluck().get()).toBe(
      this.jobs.size === 0 ? null : boundary,
    );
  }
}

describe('the index of the ledger', () => {
  it.each(Array.from({ length: 8 }, (_, seed) => seed))(
    'finds every job, and counts every commit, in any order of events (%i)',
    seed => {
      const watched = new WatchedLedger(seed);
      for (let step = 0; step < 150; step++) {
        const what = watched.random(30);
        if (what === 0) watched.jump();
        else if (what < 3) watched.reopen();
        else watched.commit();
        watched.check();
      }
      watched.database.close();
    },
  );

  it('finds a job by looking at the newest block at most', () => {
    const database = openTenant();
    const plan = (sql: string) =>
      database.db
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .all('w-1')
        .map(row => (row as { detail: string }).detail);
    const details = plan(`SELECT 1 FROM sqlite_onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`);
    expect(details).toContain('SEARCH sqlite_onewriter_jobs USING PRIMARY KEY (job_id=?)');
    expect(details).toContain('SEARCH sqlite_onewriter_ledger USING INTEGER PRIMARY KEY (rowid>?)');
    expect(details).toContain('SEARCH sqlite_onewriter_ledger USING INTEGER PRIMARY KEY (rowid=?)');
    database.close();
  });
});

describe('a commit of one write', () => {
  it('writes the pages of its row and its job, and now and then one of the index', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)'));
    // While a reader is active, the log grows and does not restart.
    const reader = new Database(lane.file);
    onTestFinished(() => void reader.close());
    reader.exec('BEGIN; SELECT * FROM t');
    const pages = () => {
      const db = new Database(lane.file);
      const [row] = db.pragma('wal_checkpoint(NOOP)') as [{ log: number }];
      db.close();
      return row.log;
    };
    const before = pages();
    for (let write = 0; write < 64; write++) lane.applyOne(writes('INSERT INTO t(a) VALUES (1)'));
    const written = (pages() - before) / 64;
    expect(written).toBeGreaterThan(1.9);
    expect(written).toBeLessThan(2.3);
  });
});
