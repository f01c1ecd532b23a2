import { LEDGER_INDEXED_TO, LEDGER_ROW_OF_JOB, LIMITS, newJobId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { script, TemporaryLane, temporaryDataDir, writes } from '../test-support/temporary-lane.ts';
import type { NumberedCommit } from './ledger.ts';
import { addLedgerNote } from './ledger-index.ts';
import { TenantDatabase } from './tenant-database.ts';

const DAY_MS = 24 * 60 * 60_000;
const NOW_MS = 1_800_000_000_000;

function openTenant(dataDir = temporaryDataDir(), epoch = 1): TenantDatabase {
  return TenantDatabase.open('acme', {
    dataDir,
    dbFile: 'a.db',
    createTenants: true,
    busyTimeoutMs: 0,
    exclusive: false,
    epoch,
  });
}

describe('pruning the ledger', () => {
  const fill = (database: TenantDatabase, rows: number, committedAtMs: number) => {
    database.db.exec('BEGIN');
    const commit = database.ledger.advance(1)!;
    for (let row = 0; row < rows; row++) {
      database.ledger.record(commit, newJobId(), committedAtMs, null, '[]', false);
    }
    database.db.exec('COMMIT');
  };
  const count = (database: TenantDatabase) =>
    database.db.prepare('SELECT count(*) FROM _onewriter_ledger').pluck().get();

  it('deletes what is past its retention, a bounded number at a time', () => {
    const database = openTenant();
    fill(database, 450, NOW_MS - 2 * DAY_MS);
    fill(database, LIMITS.maxQueueDepth, NOW_MS);
    const left: unknown[] = [];
    for (let step = 0; step < 4; step++) {
      database.ledger.prune(NOW_MS);
      left.push(count(database));
    }
    expect(left).toEqual([1_250, 1_050, 1_000, 1_000]);
    // The next look is not before its time.
    fill(database, 5, NOW_MS);
    database.ledger.prune(NOW_MS + 1);
    expect(count(database)).toBe(1_005);
    database.close();
  });

  it('keeps the newest rows however far the clock jumps ahead', () => {
    const database = openTenant();
    fill(database, LIMITS.maxQueueDepth + 10, NOW_MS);
    database.ledger.prune(NOW_MS + 10_000 * DAY_MS);
    expect(count(database)).toBe(LIMITS.maxQueueDepth);
    database.close();
  });

  it('deletes by number only what no deadline can ask for', () => {
    const database = openTenant();
    fill(database, 300, NOW_MS - LIMITS.maxTimeoutMs - 1);
    fill(database, 100, NOW_MS - LIMITS.maxTimeoutMs + 1_000);
    fill(database, LIMITS.maxLedgerRows, NOW_MS);
    for (let step = 0; step < 4; step++) database.ledger.prune(NOW_MS);
    expect(count(database)).toBe(LIMITS.maxLedgerRows + 100);
    database.close();
  });

  it('deletes idempotency keys past their retention', () => {
    const database = openTenant();
    database.keys.store('old', 'f', 'w', 0, NOW_MS - 2 * DAY_MS, '[]');
    database.keys.store('new', 'f', 'w', 0, NOW_MS, '[]');
    database.ledger.prune(NOW_MS);
    expect(database.db.prepare('SELECT key FROM _onewriter_keys').pluck().all()).toEqual(['new']);
    database.close();
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

/** A ledger beside what must be in it. */
class WatchedLedger {
  readonly random: (below: number) => number;
  database: TenantDatabase;
  jobs = new Map<string, KnownJob>();
  commitSeq = 0;
  readonly gone = new Set<string>();
  readonly #dataDir = temporaryDataDir();
  #epoch = 1;
  #nowMs = NOW_MS;

  constructor(seed: number) {
    this.random = randomFrom(seed);
    this.database = openTenant(this.#dataDir);
  }

  get lastId(): number {
    let last = 0;
    for (const { id } of this.jobs.values()) last = Math.max(last, id);
    return last;
  }

  reopen(): void {
    this.database.close();
    this.database = openTenant(this.#dataDir, ++this.#epoch);
  }

  /** A transaction as a batch makes it: rows of new jobs and of known ones, or none at all. */
  commit(): void {
    const { database, random } = this;
    const { ledger } = database;
    const before = new Map(this.jobs);
    database.db.exec('BEGIN IMMEDIATE');
    expect(ledger.advance(this.#epoch - 1)).toBeUndefined();
    let commit = ledger.advance(this.#epoch)!;
    // What steps with transactions of their own do where a COMMIT is refused.
    if (random(4) === 0) {
      database.db.exec('SAVEPOINT books');
      for (let row = random(20); row >= 0; row--)
        ledger.record(commit, newJobId(), this.#nowMs, null, '[]', false);
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
    this.database.ledger.record(commit, job, this.#nowMs, row.next_op, row.results, again || random(3) === 0);
    this.jobs.set(job, { id, commit_seq: commit.seq, ...row });
  }

  /** All that is not among the newest is past its retention. */
  #prune(): void {
    this.#nowMs += 2 * DAY_MS;
    this.database.ledger.prune(this.#nowMs);
    const oldest = [...this.jobs].sort(([, a], [, b]) => a.id - b.id).slice(0, 200);
    for (const [job, { id }] of oldest) if (id <= this.lastId - LIMITS.maxQueueDepth) this.jobs.delete(job);
  }

  /** What a restore does, which goes on from the ids of another file. */
  jump(): void {
    const { database, random } = this;
    const id = this.lastId + 1 + (random(2) === 0 ? random(40) : random(1e12));
    const jobId = `restore-${newJobId()}`;
    const commitSeq = this.commitSeq + 1 + random(5);
    database.db.transaction(() =>
      addLedgerNote(database.db, { id, jobId, commitSeq, committedAtMs: this.#nowMs }),
    )();
    this.jobs.set(jobId, { id, commit_seq: commitSeq, next_op: null, results: '[]' });
    this.commitSeq = commitSeq;
  }

  check(): void {
    const { db, ledger } = this.database;
    const count = db.prepare('SELECT count(*) FROM _onewriter_ledger').pluck();
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
    const index = db.prepare('SELECT job_id, id FROM _onewriter_jobs').raw().all() as [string, number][];
    expect(index).toHaveLength([...this.jobs.values()].filter(({ id }) => id <= boundary).length);
    expect(index.filter(([job, id]) => this.jobs.get(job)?.id !== id)).toEqual([]);
    expect(db.prepare(`SELECT ${LEDGER_INDEXED_TO}`).pluck().get()).toBe(
      this.jobs.size === 0 ? null : boundary,
    );
  }
}

describe('the index of the ledger', () => {
  it.each(Array.from({ length: 8 }, (_, seed) => seed))(
    'finds every job, and counts every commit, whatever came in which order (%i)',
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
    const details = plan(`SELECT 1 FROM _onewriter_ledger WHERE ${LEDGER_ROW_OF_JOB}`);
    expect(details).toContain('SEARCH _onewriter_jobs USING PRIMARY KEY (job_id=?)');
    expect(details).toContain('SEARCH _onewriter_ledger USING INTEGER PRIMARY KEY (rowid>?)');
    expect(details).toContain('SEARCH _onewriter_ledger USING INTEGER PRIMARY KEY (rowid=?)');
    database.close();
  });
});

describe('a commit of one write', () => {
  it('writes the pages of its row and its job, and now and then one of the index', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(id INTEGER PRIMARY KEY, a)'));
    // While somebody reads, the log grows and does not begin anew.
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
