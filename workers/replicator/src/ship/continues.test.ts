import { createHash } from 'node:crypto';
import type { CapturedLog, FileMark, LogPosition } from '@onewriter/writer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CloseNote, continues, FRAME_HEADER_BYTES, type KnownEnd } from './continues.ts';

const PAGE_SIZE = 512;

const mark = (version: number): FileMark => ({
  ino: '1',
  size: PAGE_SIZE,
  mtimeNs: `${version}`,
  ctimeNs: `${version}`,
});
const at = (salts: string, frame: number, checksum = frame === 0 ? '' : sum(`${salts}/${frame}`)) => ({
  salts,
  frame,
  checksum,
});
const NO_LOG = at('', 0);

function sum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** One frame of a log with the checksum of all up to it. */
function frame(checksum: string, endsCommit: boolean): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + PAGE_SIZE);
  bytes.writeUInt32BE(1, 0);
  bytes.writeUInt32BE(endsCommit ? 1 : 0, 4);
  bytes.write(checksum, 16, 'hex');
  return bytes;
}

function piece(options: {
  before: LogPosition;
  from: LogPosition;
  /** Of the frames, with `true` where a commit ends. */
  frames: readonly (readonly [checksum: string, endsCommit: boolean])[];
  mark?: FileMark;
}): CapturedLog {
  const { before, from, frames } = options;
  const bytes = Buffer.concat(frames.map(([checksum, ends]) => frame(checksum, ends)));
  const copy = new ArrayBuffer(bytes.length);
  bytes.copy(Buffer.from(copy));
  return {
    kind: 'log',
    tenant: 'acme',
    incarnation: 'a',
    pageSize: PAGE_SIZE,
    before,
    from,
    to: at(from.salts, from.frame + frames.length, frames.at(-1)?.[0] ?? from.checksum),
    commits: frames.flatMap(([, ends], index) =>
      ends ? [{ frames: index + 1, commitSeq: 1, atMs: 1, epoch: 1, pages: 1 }] : [],
    ),
    frames: copy,
    mark: options.mark,
    urgent: false,
  };
}

/** Frames `from + 1` to `to` of a log, each a commit of its own unless named in `inside`. */
function framesOf(salts: string, from: number, to: number, inside: readonly number[] = []) {
  return Array.from({ length: to - from }, (_, index) => {
    const number = from + index + 1;
    return [sum(`${salts}/${number}`), !inside.includes(number)] as const;
  });
}

const known = (end: LogPosition, more: Partial<KnownEnd> = {}): KnownEnd => ({
  pos: 7,
  end,
  incarnation: 'a',
  pageSize: PAGE_SIZE,
  ...more,
});

test('goes on where the piece before ended', () => {
  const next = piece({ before: at('s1', 3), from: at('s1', 3), frames: framesOf('s1', 3, 5) });
  expect(continues(known(at('s1', 3)), next)).toEqual({ kind: 'continues', skip: 0 });
});

test('drops the frames that are known', () => {
  const whole = piece({ before: at('s1', 5), from: at('s1', 0), frames: framesOf('s1', 0, 7) });
  expect(continues(known(at('s1', 3)), whole)).toEqual({ kind: 'continues', skip: 3 });
  expect(continues(known(at('s1', 7)), whole)).toEqual({ kind: 'continues', skip: 7 });
  expect(continues(known(at('s1', 0)), whole)).toEqual({ kind: 'continues', skip: 0 });
});

test('goes on in a log that began after the known one ended', () => {
  const next = piece({ before: at('s1', 3), from: at('s2', 0), frames: framesOf('s2', 0, 2) });
  expect(continues(known(at('s1', 3)), next)).toEqual({ kind: 'continues', skip: 0 });
  expect(continues(known(at('s1', 2)), next)).toEqual({ kind: 'gap', reason: 'commits missing' });
});

test('goes on without a log only where the note of the close fits the file', () => {
  const next = piece({ before: NO_LOG, from: at('s2', 0), frames: framesOf('s2', 0, 2), mark: mark(4) });
  const note: CloseNote = { pos: 7, to: at('s1', 3), mark: mark(4) };
  const end = known(at('s1', 3));
  expect(continues(end, next, note)).toEqual({ kind: 'continues', skip: 0 });
  const gap = { kind: 'gap', reason: 'commits missing' };
  expect(continues(end, next)).toEqual(gap);
  expect(continues(end, next, { ...note, pos: 6 })).toEqual(gap);
  expect(continues(end, next, { ...note, to: at('s1', 2) })).toEqual(gap);
  for (const other of [
    { ...mark(4), ino: '2' },
    { ...mark(4), size: 1_024 },
    { ...mark(4), mtimeNs: '5' },
    { ...mark(4), ctimeNs: '5' },
  ]) {
    expect(continues(end, next, { ...note, mark: other })).toEqual(gap);
  }
  expect(continues(end, { ...next, mark: undefined }, note)).toEqual(gap);
});

test('goes on with a log that was begun after the close and never captured', () => {
  const next = piece({ before: at('s2', 2), from: at('s2', 0), frames: framesOf('s2', 0, 3), mark: mark(4) });
  const note: CloseNote = { pos: 7, to: at('s1', 3), mark: mark(4) };
  expect(continues(known(at('s1', 3)), next, note)).toEqual({ kind: 'continues', skip: 0 });
  expect(continues(known(at('s1', 3)), { ...next, mark: mark(5) }, note)).toMatchObject({ kind: 'gap' });
});

test('a state without a log needs the note too', () => {
  const next = piece({ before: NO_LOG, from: at('s2', 0), frames: framesOf('s2', 0, 2), mark: mark(4) });
  expect(continues(known(NO_LOG), next)).toMatchObject({ kind: 'gap' });
  expect(continues(known(NO_LOG), next, { pos: 7, to: NO_LOG, mark: mark(4) })).toMatchObject({ skip: 0 });
});

test('a log with other frames before the known end is another one', () => {
  const whole = piece({ before: at('s1', 5), from: at('s1', 0), frames: framesOf('s1', 0, 7) });
  expect(continues(known(at('s1', 3, sum('other'))), whole)).toMatchObject({ kind: 'gap' });
  expect(continues(known(at('s1', 0, sum('other'))), whole)).toMatchObject({ kind: 'gap' });
});

test('does not begin inside a commit', () => {
  const whole = piece({ before: at('s1', 5), from: at('s1', 0), frames: framesOf('s1', 0, 7, [3]) });
  expect(continues(known(at('s1', 3)), whole)).toMatchObject({ kind: 'gap' });
});

test('a hole in the log, and a log that is shorter than what is known, are gaps', () => {
  const later = piece({ before: at('s1', 4), from: at('s1', 4), frames: framesOf('s1', 4, 5) });
  expect(continues(known(at('s1', 3)), later)).toEqual({ kind: 'gap', reason: 'commits missing' });
  expect(continues(known(at('s1', 9)), later)).toEqual({ kind: 'gap', reason: 'file went back' });
});

test('a log that does not begin at its first frame goes on from itself only', () => {
  const later = piece({ before: at('s1', 3), from: at('s2', 4), frames: framesOf('s2', 4, 5) });
  expect(continues(known(at('s1', 3)), later)).toMatchObject({ kind: 'gap' });
});

test('another file under the same name is a gap', () => {
  const next = piece({ before: at('s1', 3), from: at('s1', 3), frames: framesOf('s1', 3, 5) });
  const gap = { kind: 'gap', reason: 'another file' };
  expect(continues(known(at('s1', 3), { incarnation: 'b' }), next)).toEqual(gap);
  expect(continues(known(at('s1', 3), { pageSize: 4_096 }), next)).toEqual(gap);
});

/*
 * A file as a list of commits: those of the main file and those of its log. Each step is one that happens to a real file; the
 * capturer sees it as it would. A copy that follows `continues` must always be what the file is.
 */
class World {
  main: string[] = [];
  log: { salts: string; commits: string[] } | undefined;
  /** The log is in the main file, too: the next commit of this connection begins another. */
  isWrittenBack = false;
  version = 0;
  ids = 0;
  /** Of the writer's connection; undefined: closed. Position up to which it was captured. */
  open: { before: LogPosition; mark: FileMark | undefined; sent: number; salts: string } | undefined;
  note: CloseNote | undefined;
  /** What is stored: contents and the end that they have. */
  copy: { contents: string[]; known: KnownEnd } | undefined;
  replaced = 0;
  /** Kills between the first commit of another log and its capture: what was there before is gone. */
  overwritten = 0;

  contents(): string[] {
    return [...this.main, ...(this.log?.commits ?? [])];
  }

  endOfLog(commits = this.log?.commits.length ?? 0): LogPosition {
    if (this.log === undefined) return NO_LOG;
    // The checksum is over all frames of the log, which stand on what the main file was.
    const { salts } = this.log;
    return at(salts, commits, commits === 0 ? '' : this.#sumUpTo(commits));
  }

  #sumUpTo(commits: number): string {
    return sum(`${this.log!.salts}:${this.log!.commits.slice(0, commits).join()}`);
  }

  openFile(): void {
    if (this.open !== undefined) return;
    this.open = {
      before: this.endOfLog(),
      mark: mark(this.version),
      sent: 0,
      salts: this.log?.salts ?? '',
    };
  }

  commit(): void {
    this.openFile();
    if (this.isWrittenBack) this.#writeBack();
    if (this.log === undefined) this.#newLog();
    this.log!.commits.push(`c${++this.ids}`);
  }

  #newLog(): void {
    this.log = { salts: `salt${++this.ids}`, commits: [] };
  }

  /** The log is written back whole, but stays until the next commit. Captured before. */
  restart(capture: (piece: CapturedLog) => void): void {
    if (this.open === undefined || this.log === undefined) return;
    this.capture(capture);
    this.isWrittenBack = true;
  }

  #writeBack(): void {
    this.main = this.contents();
    this.log = undefined;
    this.isWrittenBack = false;
    this.version++;
  }

  capture(send: (piece: CapturedLog) => void): void {
    if (this.open === undefined || this.log === undefined) return;
    const { salts, commits } = this.log;
    const isOther = salts !== this.open.salts;
    const first = isOther ? 0 : this.open.sent;
    if (first === commits.length) return;
    const frames = commits.map((_, index) => [this.#sumUpTo(index + 1), true] as const).slice(first);
    send(
      piece({
        before: this.open.before,
        from: this.endOfLog(first),
        frames,
        ...(this.open.mark === undefined ? {} : { mark: this.open.mark }),
      }),
    );
    this.open = { before: this.endOfLog(), mark: undefined, sent: commits.length, salts };
  }

  close(send: (piece: CapturedLog) => void): void {
    if (this.open === undefined) return;
    this.capture(send);
    const to = this.log === undefined ? this.open.before : this.endOfLog();
    if (this.log !== undefined) this.#writeBack();
    if (this.copy !== undefined) {
      this.note = { pos: this.copy.known.pos, to, mark: mark(this.version) };
    }
    this.open = undefined;
  }

  kill(): void {
    const { open, log } = this;
    if (
      open !== undefined &&
      log !== undefined &&
      open.sent + open.before.frame > 0 &&
      open.salts !== log.salts
    ) {
      this.overwritten++;
    }
    this.open = undefined;
    this.isWrittenBack = false;
  }

  /** Another process opens the file after a kill, may commit, and closes it: the log is written back. */
  foreign(writes: boolean): void {
    if (this.open !== undefined) return;
    if (writes && this.log === undefined) this.#newLog();
    if (writes) this.log!.commits.push(`f${++this.ids}`);
    if (this.log !== undefined) this.#writeBack();
  }

  /** Another process commits into the log and dies, too. */
  foreignTail(): void {
    if (this.open !== undefined) return;
    if (this.log === undefined) this.#newLog();
    this.log!.commits.push(`f${++this.ids}`);
  }

  /** A copy of the file as it was some commits ago, put in its place. */
  goBack(commits: number): void {
    if (this.open !== undefined) return;
    this.main = this.contents().slice(0, -commits || undefined);
    this.log = undefined;
    this.version += 1_000 + ++this.replaced;
  }

  /** The end of the log is lost, as after a power cut without a flush. */
  loseTail(): void {
    if (this.open !== undefined) return;
    this.log?.commits.pop();
  }
}

interface Seen {
  gaps: number;
  pieces: number;
}

function follow(world: World, isStored: boolean, seen: Seen): (piece: CapturedLog) => void {
  return got => {
    seen.pieces++;
    const all = world.contents();
    if (world.copy === undefined) {
      world.copy = {
        contents: all,
        known: { pos: 1, end: got.to, incarnation: got.incarnation, pageSize: PAGE_SIZE },
      };
      return;
    }
    const answer = continues(world.copy.known, got, world.note);
    if (answer.kind === 'gap') seen.gaps++;
    else {
      const fresh = got.to.frame - got.from.frame - answer.skip;
      const made = [...world.copy.contents, ...world.log!.commits.slice(world.log!.commits.length - fresh)];
      expect(made).toEqual(all);
      // What was stored before may be all that is known after a kill.
      if (!isStored) return;
    }
    world.copy = {
      contents: all,
      known: { ...world.copy.known, pos: world.copy.known.pos + 1, end: got.to },
    };
  };
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constant('commit' as const) },
  { weight: 3, arbitrary: fc.constant('capture' as const) },
  fc.constantFrom('restart' as const, 'close' as const, 'kill' as const),
);
const foreignStep = fc.constantFrom(
  'foreign writes' as const,
  'foreign opens' as const,
  'foreign tail' as const,
  'goes back' as const,
  'loses tail' as const,
);

function run(world: World, what: string, send: (piece: CapturedLog) => void): void {
  if (what === 'commit') world.commit();
  else if (what === 'capture') world.capture(send);
  else if (what === 'restart') world.restart(send);
  else if (what === 'close') world.close(send);
  else if (what === 'kill') world.kill();
  else if (what === 'foreign writes') world.foreign(true);
  else if (what === 'foreign opens') world.foreign(false);
  else if (what === 'foreign tail') world.foreignTail();
  else if (what === 'goes back') world.goBack(1);
  else world.loseTail();
}

test('whatever happens to a file, what goes on makes the file', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.oneof({ weight: 4, arbitrary: step }, foreignStep), fc.boolean()), {
        minLength: 5,
        maxLength: 60,
      }),
      steps => {
        const world = new World();
        const seen = { gaps: 0, pieces: 0 };
        for (const [what, isStored] of steps) run(world, what, follow(world, isStored, seen));
      },
    ),
    { numRuns: 3_000 },
  );
});

test('a writer alone makes no gap, but for a kill while a log that began again was not captured yet', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), steps => {
      const world = new World();
      const seen = { gaps: 0, pieces: 0 };
      for (const what of steps) {
        // What is in the log of a kill is captured after the next opening.
        run(world, what, follow(world, true, seen));
      }
      expect(seen.gaps).toBeLessThanOrEqual(world.overwritten);
    }),
    { numRuns: 2_000 },
  );
});
