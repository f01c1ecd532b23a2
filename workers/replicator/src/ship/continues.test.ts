import type { CapturedLog, LogPosition } from '@onewriter/writer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { at, framesOf, mark, NO_LOG, PAGE_SIZE, piece, sum, World } from '../../test-support/log-world.ts';
import { type CloseNote, continues, type KnownEnd } from './continues.ts';

const known = (end: LogPosition, more: Partial<KnownEnd> = {}): KnownEnd => ({
  pos: 7,
  end,
  incarnation: 'a',
  pageSize: PAGE_SIZE,
  ...more,
});

test('continues where the piece before ended', () => {
  const next = piece({ before: at('s1', 3), from: at('s1', 3), frames: framesOf('s1', 3, 5) });
  expect(continues(known(at('s1', 3)), next)).toEqual({ kind: 'continues', skip: 0 });
});

test('drops the frames that are known', () => {
  const whole = piece({ before: at('s1', 5), from: at('s1', 0), frames: framesOf('s1', 0, 7) });
  expect(continues(known(at('s1', 3)), whole)).toEqual({ kind: 'continues', skip: 3 });
  expect(continues(known(at('s1', 7)), whole)).toEqual({ kind: 'continues', skip: 7 });
  expect(continues(known(at('s1', 0)), whole)).toEqual({ kind: 'continues', skip: 0 });
});

test('waits for the piece of a long log that has the end of what is known', () => {
  const known9 = known(at('s1', 9));
  const part = { before: at('s1', 12), from: at('s1', 0), frames: framesOf('s1', 0, 5) };
  expect(continues(known9, { ...piece(part), moreTo: 12 })).toEqual({ kind: 'continues', skip: 5 });
  expect(continues(known9, piece(part))).toEqual({ kind: 'gap', reason: 'file went back' });
  // The log ends before: commits that are stored are not in it.
  expect(continues(known9, { ...piece(part), moreTo: 8 })).toMatchObject({ kind: 'gap' });
});

test('continues in a log that began after the known one ended', () => {
  const next = piece({ before: at('s1', 3), from: at('s2', 0), frames: framesOf('s2', 0, 2) });
  expect(continues(known(at('s1', 3)), next)).toEqual({ kind: 'continues', skip: 0 });
  expect(continues(known(at('s1', 2)), next)).toEqual({ kind: 'gap', reason: 'commits missing' });
});

test('continues without a log only where the note of the close fits the file', () => {
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

test('continues with a log that was begun after the close and never captured', () => {
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

test('a log that does not begin at its first frame continues from itself only', () => {
  const later = piece({ before: at('s1', 3), from: at('s2', 4), frames: framesOf('s2', 4, 5) });
  expect(continues(known(at('s1', 3)), later)).toMatchObject({ kind: 'gap' });
});

test('a file that is untouched since its close continues under another name: it was restored on another machine', () => {
  const end = at('s1', 3);
  const next = piece({ before: NO_LOG, from: at('s2', 0), frames: framesOf('s2', 0, 2), mark: mark(4) });
  const renamed = known(end, { incarnation: 'b' });
  expect(continues(renamed, next, { pos: 7, to: end, mark: mark(4) })).toMatchObject({ skip: 0 });
  expect(continues(renamed, next, { pos: 7, to: end, mark: mark(5) })).toMatchObject({
    reason: 'another file',
  });
  expect(continues(renamed, next, { pos: 6, to: end, mark: mark(4) })).toMatchObject({
    reason: 'another file',
  });
});

test('another file under the same name is a gap', () => {
  const next = piece({ before: at('s1', 3), from: at('s1', 3), frames: framesOf('s1', 3, 5) });
  const gap = { kind: 'gap', reason: 'another file' };
  expect(continues(known(at('s1', 3), { incarnation: 'b' }), next)).toEqual(gap);
  expect(continues(known(at('s1', 3), { pageSize: 4_096 }), next)).toEqual(gap);
});

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

test('whatever happens to a file, what continues makes the file', () => {
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
