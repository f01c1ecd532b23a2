import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StreamRooms } from '../streams/stream-room.ts';
import { type HeldRow, HeldRows } from './held-rows.ts';

function held(number: number, bytes = 100): HeldRow {
  return { number, line: number + 1, bytes, row: undefined, hash: undefined, error: undefined };
}

function open(maxPieceRows: number) {
  const rooms = new StreamRooms();
  return { rooms, rows: new HeldRows(rooms.open('t'), maxPieceRows) };
}

const numbersOf = (rows: readonly HeldRow[]) => rows.map(({ number }) => number);

describe('HeldRows', () => {
  it('makes pieces of a number of rows and of bytes, in order', () => {
    const { rows } = open(3);
    for (let number = 0; number < 4; number++) rows.tryAdd(held(number));
    rows.tryAdd(held(4, 600_000));
    rows.tryAdd(held(5));
    expect(rows.hasFullPiece).toBe(true);
    expect([rows.takePiece(), rows.takePiece(), rows.takePiece(), rows.takePiece()].map(numbersOf)).toEqual([
      [0, 1, 2],
      [3],
      [4],
      [5],
    ]);
    expect(rows.waiting).toBe(0);
  });

  it('makes smaller pieces of the rows of one that failed, and has more of them under way', () => {
    const { rows } = open(500);
    for (let number = 0; number < 600; number++) rows.tryAdd(held(number));
    const piece = rows.takePiece();
    expect(rows.maxUnderWay).toBe(4);
    rows.takeBack();
    rows.split(piece, 250);
    expect(rows.takePiece()).toHaveLength(250);
    expect(rows.maxUnderWay).toBe(4);
    rows.takeBack();
    rows.split(piece, 1);
    expect(rows.maxUnderWay).toBe(1_000);
    expect(rows.takePiece()).toHaveLength(1);
    rows.settle(500);
    expect(numbersOf(rows.takePiece())).toHaveLength(100);
  });

  it('settles the rows up to a number, and gives their room back', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.nat(50), fc.nat(5), (count, next, pieces) => {
        const { rooms, rows } = open(7);
        for (let number = 0; number < count; number++) rows.tryAdd(held(number, number));
        let sent = 0;
        for (let piece = 0; piece < pieces; piece++) sent += rows.takePiece().length;
        const settled = rows.settle(next);
        expect(numbersOf(settled)).toEqual(
          Array.from({ length: Math.min(count, next) }, (_, number) => number),
        );
        expect(rows.size).toBe(count - settled.length);
        expect(rows.waiting).toBe(rows.size - Math.max(0, sent - settled.length));
        expect(rows.first?.number).toBe(settled.length < count ? settled.length : undefined);
        expect(rooms.used.writes).toBe(rows.size);
      }),
    );
  });
});
