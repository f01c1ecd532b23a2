import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { newStepsJobId, newTransactionId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CaptureListener, LogCopy } from '../../test-support/log-copy.ts';
import { createRandom } from '../../test-support/random.ts';
import { applied, queuedJob, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';
import { CaptureRoom } from './capture-room.ts';

const TABLE = script('CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX t_a ON t(a)');
const INSERT = 'INSERT INTO t(a, b) VALUES (random(), 1)';
/** More pages than the page cache has: SQLite writes them to the log before the COMMIT. */
const SPILL = `INSERT INTO t(a, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
  SELECT random(), randomblob(3000) FROM n`;

function replicated(options: ConstructorParameters<typeof TemporaryLane>[0] = {}): TemporaryLane {
  return new TemporaryLane({ ...options, replicated: true });
}

function listen(copies: readonly LogCopy[], room?: CaptureRoom): CaptureListener {
  const listener = new CaptureListener(copies, room);
  onTestFinished(() => listener.close());
  return listener;
}

/** The file with all of its log in it. */
function imageOf(lane: TemporaryLane): Buffer {
  lane.lane.run({ kind: 'close', tenant: 'acme' });
  expect(existsSync(`${lane.file}-wal`) && readFileSync(`${lane.file}-wal`).length > 0).toBe(false);
  return readFileSync(lane.file);
}

/** The files as they are after a crash of the process: the index of the log is made again. */
function crash(lane: TemporaryLane): TemporaryLane {
  const after = replicated();
  mkdirSync(dirname(after.file), { recursive: true });
  for (const suffix of ['', '-wal']) copyFileSync(`${lane.file}${suffix}`, `${after.file}${suffix}`);
  return after;
}

function seqs(copy: LogCopy): number[] {
  return copy.commits.map(({ commitSeq }) => commitSeq);
}

describe('the log of a tenant', () => {
  it('is sent with the number, time and size of each commit', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    const before = Date.now();
    lane.apply(TABLE);
    lane.apply(writes(INSERT), writes(INSERT));
    listener.drain();
    // Only the first of a log, whose writer's tables are a commit of their own.
    expect(seqs(copy)).toEqual([0]);
    listener.ask();
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.pieces).toHaveLength(3);
    expect(copy.gaps).toEqual([]);
    expect(seqs(copy)).toEqual([0, 1, 2, 3]);
    expect(copy.commits.every(({ atMs }) => atMs >= before && atMs <= Date.now())).toBe(true);
    expect(copy.commits.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 1]);
    expect(copy.commits.at(-1)!.pages).toBe(lane.rows('PRAGMA page_count')[0]![0]);
    const image = imageOf(lane);
    expect(copy.image.equals(image)).toBe(true);
    expect(copy.pieces[0]).toMatchObject({ pageSize: 4096, urgent: false, before: { salts: '', frame: 0 } });
  });

  it('is sent before each checkpoint, and when the file is closed', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    for (let i = 0; i < 400; i++) {
      lane.apply(writes(INSERT, INSERT));
      listener.drain();
    }
    const logs = new Set(copy.pieces.map(({ from }) => from.salts));
    expect(logs.size).toBeGreaterThan(2);
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(seqs(copy)).toEqual(Array.from({ length: 402 }, (_, i) => i));
    expect(copy.image.equals(image)).toBe(true);
  });

  it('has no frames of a transaction that was undone after it was written to the log', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.apply(writes(INSERT));
    // The second statement undoes the first.
    lane.apply(script(`${SPILL}; SELECT raise_an_error()`));
    listener.ask();
    lane.apply(writes(INSERT));
    lane.apply(script(SPILL), writes(INSERT));
    listener.ask();
    lane.apply(script(`${SPILL}; SELECT raise_an_error()`), writes(INSERT));
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('is sent up to the last commit while a transaction is open, whose pages are in the log already', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.apply(writes(INSERT));
    const transaction = { id: newTransactionId(), expiresAt: 1 };
    const steps = queuedJob(['BEGIN', SPILL], [{ q: [{ s: 0 }, { s: 1 }], i: 1 }], {
      id: newStepsJobId('b'),
    });
    const outcome = applied(
      lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [steps], transaction }),
    );
    expect(outcome.open).toBe(transaction.id);
    listener.ask();
    expect(seqs(copy)).toEqual([0, 1, 2]);
    // It is rolled back, and its frames are overwritten.
    lane.apply(writes(INSERT));
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(seqs(copy)).toEqual([0, 1, 2, 3]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('is sent at once where a caller waits for it', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)], capture: true });
    listener.drain();
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.pieces.map(({ urgent }) => urgent)).toEqual([false, true, false]);
    expect(seqs(copy)).toEqual([0, 1, 2, 3]);
    // The first commit of a log is sent in any case.
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)], capture: true });
    listener.drain();
    expect(copy.pieces.at(-1)).toMatchObject({ urgent: true, commits: [{ commitSeq: 4 }] });
  });

  it('says that it is not flushed where its commits were not', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    const task = { kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)], flush: 'later' } as const;
    const { unflushed } = applied(lane.lane.run(task));
    listener.ask();
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.pieces.map(piece => piece.unflushed)).toEqual([undefined, undefined, unflushed, undefined]);
    expect(unflushed?.path).toBe(`${lane.file}-wal`);
  });

  it('is the same on a file system without shared memory', () => {
    const copy = new LogCopy();
    const lane = replicated({ exclusive: true });
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    for (let i = 0; i < 200; i++) lane.apply(writes(INSERT, INSERT));
    listener.ask();
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('costs nothing where tenants are not replicated', () => {
    const lane = new TemporaryLane();
    lane.apply(TABLE);
    const task = { kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)], capture: true } as const;
    expect(applied(lane.lane.run(task)).stats.commits).toBe(1);
  });
});

describe('a file that is opened again', () => {
  it('continues where it was closed with its whole log in it', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    listener.drain();
    lane.apply(writes(INSERT));
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('continues in the log that was left beside it when it was closed for another', () => {
    const copy = new LogCopy();
    const lane = replicated({ maxOpenTenants: 1 });
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    for (let i = 0; i < 5; i++) {
      lane.apply(writes(INSERT));
      lane.run([TABLE], { tenant: 'other' });
    }
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
    // This thread knows what it has sent.
    expect(copy.knownFrames).toBe(0);
    expect(copy.pieces.length).toBeGreaterThan(4);
  });

  it('says so when a left log is written back', () => {
    const copy = new LogCopy();
    const lane = replicated({ maxOpenTenants: 1 });
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.run([TABLE], { tenant: 'other' });
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    listener.drain();
    lane.apply(writes(INSERT));
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('continues in the log that stays when the process ends', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.apply(script(SPILL));
    lane.lane.run({ kind: 'close', tenant: null });
    expect(readFileSync(`${lane.file}-wal`).length).toBeGreaterThan(256 * 1024);
    listener.drain();
    const next = replicated({ dataDir: lane.options.dataDir });
    const after = listen([copy], listener.room).connect(next);
    next.run([writes(INSERT)], { epoch: 2 });
    const image = imageOf(next);
    after.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('is continued by another thread while the former still has it open', () => {
    const copy = new LogCopy();
    const first = replicated();
    const second = replicated({ dataDir: first.options.dataDir });
    const room = CaptureRoom.create(64 * 1024 * 1024);
    const listeners = [listen([copy], room).connect(first), listen([copy], room).connect(second)];
    first.apply(TABLE);
    for (let turn = 0; turn < 6; turn++) {
      const lane = turn % 2 === 0 ? first : second;
      for (let i = 0; i < 40 + 30 * turn; i++) lane.apply(writes(INSERT, INSERT));
      if (turn % 3 === 0) for (const listener of listeners) listener.request();
      CaptureListener.drainAll(listeners);
    }
    first.lane.close();
    CaptureListener.drainAll(listeners);
    const image = imageOf(second);
    CaptureListener.drainAll(listeners);
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });

  it('continues under a newer epoch, which another thread has noted or this one', () => {
    const copy = new LogCopy();
    const first = replicated();
    const second = replicated({ dataDir: first.options.dataDir });
    const room = CaptureRoom.create(64 * 1024 * 1024);
    const listeners = [listen([copy], room).connect(first), listen([copy], room).connect(second)];
    first.apply(TABLE);
    second.apply(writes(INSERT));
    for (const lane of [first, second, first]) lane.run([writes(INSERT)], { epoch: 2 });
    for (const listener of listeners) listener.request();
    CaptureListener.drainAll(listeners);
    first.run([writes(INSERT)], { epoch: 3 });
    second.lane.close();
    CaptureListener.drainAll(listeners);
    const image = imageOf(first);
    CaptureListener.drainAll(listeners);
    expect(copy.gaps).toEqual([]);
    expect(copy.commits.at(-1)).toMatchObject({ commitSeq: 6, epoch: 3 });
    expect(copy.image.equals(image)).toBe(true);
  });

  it('has what was not sent before a crash', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.apply(writes(INSERT));
    listener.ask();
    lane.apply(writes(INSERT), writes(INSERT));
    lane.apply(writes(INSERT));
    const after = crash(lane);
    const next = listen([copy], listener.room).connect(after);
    after.run([writes(INSERT)], { epoch: 2 });
    next.ask();
    expect(copy.gaps).toEqual([]);
    // Of those of the process before, only the pages are known; the commit of the new epoch follows them.
    expect(seqs(copy)).toEqual([0, 1, 2, 0, 0, 4, 5]);
    expect(copy.commits.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 0, 0, 2, 2]);
    const image = imageOf(after);
    next.drain();
    expect(copy.image.equals(image)).toBe(true);
  });

  it('continues after a crash in a log that began after a close, and of which nothing was sent', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    listener.drain();
    // A process that was killed before its replicator had anything of it.
    const dead = new Database(lane.file);
    onTestFinished(() => void dead.close());
    dead.pragma('wal_autocheckpoint = 0');
    dead.exec(INSERT);
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.gaps).toEqual([]);
    expect(copy.pieces.at(-1)).toMatchObject({ from: { frame: 0 }, mark: expect.anything() });
  });

  it('does not continue where another program has written its log back', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    lane.apply(writes(INSERT));
    const after = crash(lane);
    // Reads, and is the last to close it.
    const shell = new Database(after.file);
    shell.prepare('SELECT count(*) FROM t').get();
    shell.close();
    expect(existsSync(`${after.file}-wal`)).toBe(false);
    const next = listen([copy], listener.room).connect(after);
    after.run([writes(INSERT)], { epoch: 2 });
    next.ask();
    expect(copy.gaps[0]).toBe('does not fit');
  });

  it('does not continue where it was changed since it was closed', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    const shell = new Database(lane.file);
    shell.exec(INSERT);
    shell.close();
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.gaps[0]).toBe('does not fit');
  });
});

describe('without room', () => {
  it('stays in the log until there is some', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const room = CaptureRoom.create(4 * 1024 * 1024);
    const listener = listen([copy], room).connect(lane);
    expect(room.take(4 * 1024 * 1024)).toBe(true);
    lane.apply(TABLE);
    listener.ask();
    expect(copy.pieces).toEqual([]);
    room.giveBack(4 * 1024 * 1024);
    listener.ask();
    expect(copy.gaps).toEqual([]);
    expect(seqs(copy)).toEqual([0, 1]);
    expect(room.usedBytes).toBe(0);
  });

  it('is lost when the log is written back, and continues from there', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const room = CaptureRoom.create(4 * 1024 * 1024);
    const listener = listen([copy], room).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    room.take(4 * 1024 * 1024);
    for (let i = 0; i < 60; i++) lane.apply(writes(INSERT, INSERT));
    listener.drain();
    expect(copy.gaps[0]).toBe('no room');
    const bytesPending = room.usedBytes;
    expect(bytesPending).toBe(4 * 1024 * 1024);
    room.giveBack(bytesPending);
    for (let i = 0; i < 3; i++) lane.apply(writes(INSERT, INSERT));
    listener.ask();
    expect(room.usedBytes).toBe(0);
    const { before, from, to } = copy.pieces.at(-1)!;
    expect(from.salts).toBe(to.salts);
    expect(before.frame).toBeGreaterThan(0);
  });

  it('is lost once more where a transaction ends that was open when the first was', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy], CaptureRoom.create(1024 * 1024)).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    // Too few pages for a checkpoint.
    lane.apply(script(SPILL.replace('LIMIT 1000', 'LIMIT 90')));
    const transaction = { id: newTransactionId(), expiresAt: 1 };
    const send = (steps: string[], id: string, more: object) => {
      const job = queuedJob(steps, [{ q: steps.map((_, s) => ({ s })), ...more }], { id });
      return lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [job], transaction });
    };
    applied(send(['BEGIN', INSERT], newStepsJobId('b'), { i: 1 }));
    listener.ask();
    expect(copy.gaps).toEqual(['no room']);
    // The file may be read whole now, which does not have this commit.
    applied(send(['COMMIT'], newStepsJobId('s'), { tx: transaction.id, i: 1 }));
    listener.ask();
    expect(copy.gaps).toEqual(['no room', 'log changed']);
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.pieces.at(-1)!.commits).toHaveLength(1);
  });

  it('is lost where one commit is larger than a tenant may have', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy], CaptureRoom.create(8 * 1024 * 1024)).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    lane.apply(script(SPILL));
    listener.ask();
    expect(copy.gaps).toEqual(['no room']);
    lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.pieces.at(-1)!.commits).toHaveLength(1);
  });
});

it('a log that is cut says so: the file is as a close in order leaves it', () => {
  const lane = replicated();
  const listener = listen([], CaptureRoom.create(256 * 1024 * 1024)).connect(lane);
  lane.apply(TABLE);
  lane.apply(script(SPILL.replace('LIMIT 1000', 'LIMIT 6000')));
  // The next one begins with a checkpoint.
  lane.apply(writes(INSERT));
  const messages = listener.receive();
  const cut = messages.findIndex(({ kind }) => kind === 'closed');
  expect(messages[cut - 1]).toMatchObject({ kind: 'log', commits: [{ commitSeq: 2 }] });
  expect(messages[cut]).toMatchObject({ to: (messages[cut - 1] as { to?: unknown }).to });
});

describe('what other connections do to the log', () => {
  it('is lost where a checkpoint of another program let a commit overwrite what was not sent', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    lane.apply(writes(INSERT));
    const shell = new Database(lane.file);
    onTestFinished(() => void shell.close());
    shell.pragma('wal_checkpoint(PASSIVE)');
    for (let i = 0; i < 20; i++) lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.gaps).toEqual(['log changed']);
  });

  it('is no loss where all was sent before', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    listener.ask();
    const shell = new Database(lane.file);
    onTestFinished(() => void shell.close());
    shell.pragma('wal_checkpoint(PASSIVE)');
    for (let i = 0; i < 20; i++) lane.apply(writes(INSERT));
    listener.ask();
    expect(copy.gaps).toEqual([]);
    expect(copy.pieces.at(-1)!.from.salts).not.toBe(copy.pieces[0]!.from.salts);
  });

  it('has the commits of a log that the next commit overwrites when the file is opened', () => {
    const copy = new LogCopy();
    const lane = replicated();
    const listener = listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.apply(writes(INSERT));
    const after = crash(lane);
    const reader = new Database(after.file, { readonly: true });
    onTestFinished(() => void reader.close());
    reader.prepare('SELECT count(*) FROM t').get();
    const shell = new Database(after.file);
    shell.pragma('wal_checkpoint(PASSIVE)');
    shell.close();
    const next = listen([copy], listener.room).connect(after);
    after.run([writes(INSERT)], { epoch: 2 });
    next.ask();
    expect(copy.gaps).toEqual([]);
    expect(seqs(copy)).toEqual([0, 0, 0, 2, 3]);
  });

  it('is sent again from the beginning of the log where the replicator was started again', () => {
    const copy = new LogCopy();
    const lane = replicated();
    listen([copy]).connect(lane);
    lane.apply(TABLE);
    lane.lane.run({ kind: 'apply', tenant: 'acme', epoch: 1, jobs: [writes(INSERT)], capture: true });
    // What the first had is gone with it.
    const listener = listen([copy]).connect(lane);
    lane.apply(writes(INSERT));
    listener.ask();
    const image = imageOf(lane);
    listener.drain();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(image)).toBe(true);
  });
});

it('makes the same file from any writes, checkpoints, closes and crashes', { timeout: 60_000 }, () => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = createRandom(seed);
    const copy = new LogCopy();
    const room = CaptureRoom.create(256 * 1024 * 1024);
    let epoch = 1;
    let lane = replicated({ maxOpenTenants: 2 });
    let listener = listen([copy], room).connect(lane);
    lane.run([TABLE], { epoch });
    for (let turn = 0; turn < 40; turn++) {
      const choice = random();
      if (choice < 0.6) {
        const statements = Array.from({ length: 1 + Math.floor(random() * 40) }, () => randomWrite(random));
        const flush = random() < 0.5 ? 'later' : 'commit';
        lane.lane.run({ kind: 'apply', tenant: 'acme', epoch, jobs: [writes(...statements)], flush });
      } else if (choice < 0.7)
        lane.run([script(random() < 0.5 ? SPILL : `${SPILL}; SELECT nothing()`)], { epoch });
      else if (choice < 0.8) lane.lane.run({ kind: 'close', tenant: 'acme' });
      else if (choice < 0.85) lane.lane.run({ kind: 'distrust', tenant: 'acme' }, () => {});
      else if (choice < 0.9) for (const tenant of ['x', 'y']) lane.run([TABLE], { tenant, epoch });
      else if (choice < 0.95) listener.ask();
      else if (existsSync(`${lane.file}-wal`)) {
        // What was sent is taken or not: the replicator may end with the process.
        if (random() < 0.5) listener.drain();
        const after = crash(lane);
        lane.lane.close();
        rmSync(lane.options.dataDir, { recursive: true, force: true });
        lane = after;
        listener = listen([copy], room).connect(lane);
        epoch++;
      }
      if (random() < 0.5) listener.drain();
    }
    lane.run([writes(INSERT)], { epoch });
    const image = imageOf(lane);
    listener.drain();
    const gaps = copy.gaps.length;
    // A checkpoint may have come between a crash and what the replicator had.
    if (gaps === 0) expect(copy.image.equals(image), `seed ${seed}`).toBe(true);
    expect(copy.gaps.filter(gap => gap !== 'does not fit')).toEqual([]);
  }
});

function randomWrite(random: () => number): string {
  const choice = random();
  if (choice < 0.6) return INSERT;
  if (choice < 0.75) return `UPDATE t SET b = randomblob(${Math.floor(random() * 9000)}) WHERE id % 7 = 3`;
  if (choice < 0.9) return 'DELETE FROM t WHERE id % 5 = 1';
  return 'INSERT INTO t(a, b) VALUES (1, nothing())';
}
