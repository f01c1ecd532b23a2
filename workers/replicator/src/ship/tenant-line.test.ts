import type { CaptureMessage, LogPosition } from '@onewriter/writer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { at, framesOf, mark, NO_LOG, PAGE_SIZE, piece, World } from '../../test-support/log-world.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from '../format/chain-state.ts';
import { type CloseNote, FRAME_HEADER_BYTES } from './continues.ts';
import { numbersOf, type PackItem } from './pack-item.ts';
import { TenantLine } from './tenant-line.ts';

/** A line whose room and notes are kept here. */
class Line {
  readonly line: TenantLine;
  freed = 0;
  sent = 0;
  note: CloseNote | undefined;
  readonly gaps: string[] = [];

  constructor(last?: ConstructorParameters<typeof TenantLine>[2], note?: CloseNote) {
    this.note = note;
    this.line = new TenantLine(
      'acme',
      {
        nowMs: () => 1_000,
        free: ({ roomBytes }) => {
          this.freed += roomBytes;
        },
        gap: (_, reason) => this.gaps.push(reason),
        readNote: () => this.note,
        writeNote: (_, written) => {
          this.note = written;
        },
      },
      last,
    );
  }

  receive(message: CaptureMessage): void {
    if (message.kind === 'log') this.sent += message.frames.byteLength;
    this.line.receive(message);
  }

  /** All items, as a pack takes them. */
  takeAll(): PackItem[] {
    const items: PackItem[] = [];
    while (this.line.items.length > 0) items.push(this.line.take());
    for (const item of items) if (item.kind !== 'entry') this.freed += item.roomBytes;
    return items;
  }
}

const full = (pos: number, end: LogPosition, fields: Partial<Parameters<typeof testEntry>[0]> = {}) =>
  testEntry({ kind: 'full', min: pos, max: pos, end, incarnation: 'a', pageSize: PAGE_SIZE, ...fields });

const piecesOf = (salts: string, from: number, to: number, pages = 2) =>
  piece({ before: at(salts, from), from: at(salts, from), frames: framesOf(salts, from, to), pages });

test('a new tenant begins with the first commit that has all pages, and continues with the rest', () => {
  const it = new Line();
  it.receive(piece({ before: NO_LOG, from: at('s1', 0), frames: framesOf('s1', 0, 3), mark: mark(1) }));
  expect(it.line.state).toBe('chained');
  const items = it.takeAll();
  expect(items.map(({ kind }) => kind)).toEqual(['first', 'pages']);
  expect(items.map(item => numbersOf(item).pos)).toEqual([1, 3]);
  expect(items[0]).toMatchObject({ count: 1, end: at('s1', 1) });
  expect(it.freed).toBe(it.sent);
});

test('a tenant of which the log has not all pages is read whole', () => {
  const it = new Line();
  it.receive(piecesOf('s1', 3, 5));
  expect(it.line.state).toBe('needs-full');
  expect(it.gaps).toEqual([]);
  expect(it.freed).toBe(it.sent);
  expect(it.line.apart).toMatchObject({ commits: 2, sinceMs: 1 });
});

test('commits of another connection count on from the one before', () => {
  const it = new Line(full(7, at('s1', 3), { lastSeq: 40, epoch: 9 }));
  const next = piecesOf('s1', 3, 5);
  const [first, last] = next.commits;
  it.receive({
    ...next,
    commits: [
      { ...first!, commitSeq: 0, epoch: 0 },
      { ...last!, commitSeq: 45, epoch: 10 },
    ],
  });
  const [item] = it.takeAll();
  expect(item).toMatchObject({
    commits: [
      { pos: 8, commitSeq: 40, epoch: 9 },
      { pos: 9, commitSeq: 45, epoch: 10 },
    ],
  });
});

test('what is late is dropped, and what was sent before may still come', () => {
  const it = new Line(full(7, at('s1', 3)));
  const [one, two] = [piecesOf('s1', 3, 5), piecesOf('s1', 5, 6)];
  expect(it.line.fits(two)).toBe(false);
  it.receive(one);
  expect(it.line.fits(two)).toBe(true);
  it.receive(two);
  it.receive(one);
  expect(it.takeAll()).toHaveLength(2);
  expect(it.gaps).toEqual([]);
  expect(it.freed).toBe(it.sent);
});

test('a long chain continues until its file is read, and after a reading that failed', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.line.renew();
  expect(it.line.needsReading).toBe(true);
  it.receive(piecesOf('s1', 3, 4));
  expect(it.line.beginReading()).toBe(9);
  it.receive(piecesOf('s1', 4, 5));
  expect(it.takeAll().map(item => numbersOf(item).pos)).toEqual([8]);
  it.line.failReading(false);
  expect(it.takeAll().map(item => numbersOf(item).pos)).toEqual([9]);
  it.line.renew();
  it.line.endReading({ entry: full(it.line.beginReading(), at('s1', 5)) });
  expect(it.takeAll().map(item => numbersOf(item).pos)).toEqual([10]);
  expect([it.line.needsReading, it.gaps, it.freed === it.sent]).toEqual([false, [], true]);
});

test('lost commits need a whole reading; what was there before is stored first', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive(piecesOf('s1', 3, 4));
  it.receive({ kind: 'lost', order: 10n ** 9n, tenant: 'acme', reason: 'no room' });
  expect(it.gaps).toEqual(['lost']);
  expect(it.line.beginReading()).toBe(9);
  expect(it.line.endReading({ entry: full(9, at('s1', 6)) })).toBe(true);
  expect(it.takeAll().map(item => numbersOf(item).pos)).toEqual([8, 9]);
});

test('a reading of a file that was replaced meanwhile is of no use', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.line.replaced();
  const pos = it.line.beginReading();
  it.receive(piecesOf('s1', 3, 4));
  it.line.replaced();
  expect(it.line.endReading({ entry: full(pos, at('s1', 4)) })).toBe(false);
  expect(it.line.state).toBe('needs-full');
  expect(it.line.items).toEqual([]);
  expect(it.freed).toBe(it.sent);
});

test('after a replacement no piece is believed before the file was read: it may be of the former one', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.line.replaced();
  it.receive(piecesOf('s1', 3, 4, 1));
  expect(it.line.state).toBe('needs-full');
});

test('the last piece of a deleted file changes nothing; a new file of its name begins with a higher number', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.line.deleted();
  it.line.deleted();
  it.receive(piecesOf('s1', 3, 4));
  expect(it.takeAll()).toMatchObject([{ kind: 'entry', entry: { kind: 'deleted', max: 7 } }]);
  it.receive(piecesOf('s9', 0, 2));
  expect(it.line.state).toBe('needs-full');
  expect(it.line.beginReading()).toBe(8);
  it.line.failReading(true);
  expect(it.line.state).toBe('deleted');
  expect(it.freed).toBe(it.sent);
});

test('what is lost while the file is read is not in it for sure: it is read again', () => {
  const it = new Line(full(7, at('s1', 3)));
  const lost = { kind: 'lost', order: 10n ** 9n, tenant: 'acme', reason: 'no room' } as const;
  it.receive(lost);
  const pos = it.line.beginReading();
  it.receive(lost);
  it.line.endReading({ entry: full(pos, at('s1', 4)) });
  expect([it.line.needsReading, it.line.apart?.sinceMs]).toEqual([true, 1_000]);
  // Unless a piece shows that nothing was.
  it.receive({ ...piecesOf('s1', 4, 5), order: 10n ** 9n });
  expect([it.line.needsReading, it.line.apart]).toEqual([false, undefined]);
});

test('a deletion is stored, also where the log before it is gone', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive({ ...piecesOf('s1', 3, 4), unflushed: { path: '/nowhere', identity: '1:1' } });
  it.line.deleted();
  it.line.dropUnflushed();
  expect(it.takeAll()).toMatchObject([{ kind: 'entry', entry: { kind: 'deleted' } }]);
  expect(it.line.state).toBe('deleted');
});

test('pieces whose log could not be flushed are not stored, nor what follows on them', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive(piecesOf('s1', 3, 4));
  it.receive({ ...piecesOf('s1', 4, 5), unflushed: { path: '/nowhere', identity: '1:1' } });
  it.receive(piecesOf('s1', 5, 6));
  it.line.dropUnflushed();
  expect(it.takeAll()).toHaveLength(1);
  expect(it.line.state).toBe('needs-full');
  expect(it.line.apart).toMatchObject({ commits: 2 });
  expect(it.freed).toBe(it.sent);
});

test('what was taken and cannot be stored is given up with what follows, but for a deletion', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive(piecesOf('s1', 3, 4));
  const taken = it.line.take();
  it.receive(piecesOf('s1', 4, 5));
  it.line.giveUp([taken]);
  expect([it.line.state, it.line.items.length, it.line.gaps]).toEqual(['needs-full', 0, 1]);
  expect(it.line.apart).toMatchObject({ commits: 2 });
  expect(it.freed).toBe(it.sent);
  it.line.deleted();
  it.line.giveUp(it.takeAll());
  expect([it.line.state, it.takeAll()]).toMatchObject(['deleted', [{ entry: { kind: 'deleted' } }]]);
});

test('a file that is read for a shorter chain has to be read where what is before it was given up', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive(piecesOf('s1', 3, 4));
  const taken = it.takeAll();
  it.line.renew();
  it.line.beginReading();
  it.line.giveUp(taken);
  it.line.failReading(false);
  expect(it.line.state).toBe('needs-full');
});

test('a close in order makes what came before it safe to store', () => {
  const it = new Line(full(7, at('s1', 3)));
  it.receive({ ...piecesOf('s1', 3, 4), unflushed: { path: '/nowhere', identity: '1:1' } });
  it.receive({ kind: 'closed', order: 10n ** 9n, tenant: 'acme', to: at('s1', 4), mark: mark(3) });
  expect(it.line.unflushed).toEqual([]);
  expect(it.note).toEqual({ pos: 8, to: at('s1', 4), mark: mark(3) });
});

/** What the store makes of the items. */
class Copy {
  readonly chain = new ChainState();
  contents: number[] = [];
  end: LogPosition = NO_LOG;

  take(item: PackItem, contentsAt: (end: LogPosition) => number[]): void {
    const { pos } = numbersOf(item);
    if (item.kind === 'entry') {
      expect(
        this.chain.add({ pack: { level: 0, number: pos }, entry: { ...testEntry({ ...item.entry }) } }),
      ).toBe(true);
      this.contents = [...contentsAt(item.entry.end)];
      this.end = item.entry.end;
      return;
    }
    expect(item.kind).toBe('pages');
    if (item.kind !== 'pages') return;
    const { commits, frames, skip } = item;
    const entry = testEntry({ kind: 'pages', min: commits[0]!.pos, max: pos });
    expect(this.chain.add({ pack: { level: 0, number: pos }, entry })).toBe(true);
    const bytes = Buffer.from(frames);
    for (let frame = skip; frame < skip + commits.at(-1)!.frames; frame++) {
      this.contents.push(bytes.readUInt32BE(frame * (FRAME_HEADER_BYTES + PAGE_SIZE) + FRAME_HEADER_BYTES));
    }
    expect(this.contents).toEqual(contentsAt(item.end));
    this.end = item.end;
  }
}

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constant('commit') },
    { weight: 4, arbitrary: fc.constant('capture') },
    { weight: 2, arbitrary: fc.constantFrom('begin reading', 'end reading', 'fail reading', 'store') },
    fc.constantFrom('restart', 'close', 'kill', 'lost', 'replaced', 'renew', 'new replicator'),
    fc.constantFrom('foreign writes', 'foreign tail', 'goes back', 'loses tail'),
  ),
  { minLength: 5, maxLength: 80 },
);

/** Of one broker that goes on: all that is committed comes, or is said to be lost. */
const steadySteps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constant('commit') },
    { weight: 4, arbitrary: fc.constant('capture') },
    { weight: 3, arbitrary: fc.constantFrom('begin reading', 'end reading', 'fail reading', 'store') },
    fc.constantFrom('restart', 'close', 'lost', 'replaced', 'renew'),
  ),
  { minLength: 5, maxLength: 40 },
);

test.each([
  {
    what: 'whatever happens, what is stored is what the file was, and after a commit what it is',
    all: steps,
  },
  { what: 'so it is without a further commit, where the broker goes on', all: steadySteps, isQuiet: true },
])('$what', ({ all: anySteps, isQuiet = false }) => {
  fc.assert(
    fc.property(anySteps, all => {
      const world = new World();
      const copy = new Copy();
      const seen = new Map<string, number[]>();
      let it = new Line();
      let reading:
        | { readonly pos: number; readonly end: LogPosition; readonly contents: number[] }
        | undefined;
      const key = (end: LogPosition) => `${end.salts}/${end.frame}/${end.checksum}`;
      const receive = (message: CaptureMessage) => {
        if (message.kind === 'log') seen.set(key(message.to), world.contents());
        it.receive(message);
      };
      const store = () => {
        for (const item of it.takeAll()) {
          copy.take(item, end =>
            item.kind === 'entry' && reading !== undefined ? reading.contents : (seen.get(key(end)) ?? []),
          );
        }
      };
      const beginReading = () => {
        if (!it.line.needsReading) return;
        store();
        const end = world.endOfLog();
        reading = { pos: it.line.beginReading(), end, contents: world.contents() };
        // A reading without a log is of use only where the file did not change meanwhile.
        markThen = world.version;
      };
      let markThen = 0;
      const endReading = () => {
        if (reading === undefined) return;
        const { pos, end } = reading;
        const isSame = end.salts === '' && world.version === markThen;
        it.line.endReading({ entry: full(pos, end), mark: isSame ? mark(markThen) : undefined });
        store();
        reading = undefined;
      };
      const failReading = () => {
        if (reading !== undefined) it.line.failReading(false);
        reading = undefined;
      };
      for (const step of all) {
        if (step === 'commit') world.commit();
        else if (step === 'capture') world.capture(receive);
        else if (step === 'restart') world.restart(receive);
        else if (step === 'close') world.close(receive, receive);
        else if (step === 'kill') world.kill();
        else if (step === 'begin reading') beginReading();
        else if (step === 'end reading') endReading();
        else if (step === 'fail reading') failReading();
        else if (step === 'store') {
          if (reading === undefined) store();
        } else if (step === 'lost') {
          world.lose();
          it.receive({ kind: 'lost', order: it.line.order, tenant: 'acme', reason: 'no room' });
        } else if (step === 'replaced') it.line.replaced();
        else if (step === 'renew') it.line.renew();
        else if (step === 'new replicator') {
          failReading();
          // What was not stored is gone; the writers were killed with it.
          world.kill();
          const { last } = copy.chain;
          it = new Line(last && { ...last, incarnation: 'a', pageSize: PAGE_SIZE, end: copy.end }, it.note);
        } else if (step === 'foreign writes') world.foreign(true);
        else if (step === 'foreign tail') world.foreignTail();
        else if (step === 'goes back') world.goBack(1);
        else world.loseTail();
      }
      if (!isQuiet) endReading();
      if (!isQuiet) world.commit();
      world.capture(receive);
      if (isQuiet) endReading();
      for (let tries = 0; it.line.needsReading && tries < 3; tries++) {
        beginReading();
        endReading();
      }
      if (world.ids > 0) expect(it.line.state).toBe('chained');
      store();
      expect(copy.contents).toEqual(world.contents());
      expect(it.freed).toBe(it.sent);
    }),
    { numRuns: 2_000 },
  );
});
