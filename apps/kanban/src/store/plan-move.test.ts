import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { CardPlace } from '../board.ts';
import { planMove } from './plan-move.ts';

/** Two columns, each numbered from 0. */
const board = fc
  .tuple(fc.nat(8), fc.integer({ min: 1, max: 8 }))
  .map(([left, right]): CardPlace[] => [
    ...Array.from({ length: left }, (_, position) => ({ id: `l${position}`, columnId: 'left', position })),
    ...Array.from({ length: right }, (_, position) => ({ id: `r${position}`, columnId: 'right', position })),
  ]);

it('moves one card to its place and keeps the order of all others, with no holes', () => {
  fc.assert(
    fc.property(
      board,
      fc.nat(),
      fc.constantFrom('left', 'right'),
      fc.nat(10),
      (cards, pick, column, position) => {
        const { id } = cards[pick % cards.length]!;
        const changes = new Map(planMove(cards, id, column, position).map(place => [place.id, place]));
        const after = cards.map(card => changes.get(card.id) ?? card);
        for (const each of ['left', 'right']) {
          const before = idsIn(cards, each).filter(other => other !== id);
          const now = after
            .filter(({ columnId }) => columnId === each)
            .sort((a, b) => a.position - b.position);
          expect(now.map(place => place.position)).toEqual([...now.keys()]);
          expect(now.map(place => place.id).filter(other => other !== id)).toEqual(before);
          if (each === column)
            expect(now.findIndex(place => place.id === id)).toBe(Math.min(position, before.length));
        }
      },
    ),
  );
});

it('changes nothing where the card is there already', () => {
  const cards = [0, 1, 2].map(position => ({ id: `c${position}`, columnId: 'one', position }));
  expect(planMove(cards, 'c1', 'one', 1)).toEqual([]);
});

function idsIn(cards: readonly CardPlace[], column: string): string[] {
  return cards
    .filter(({ columnId }) => columnId === column)
    .sort((a, b) => a.position - b.position)
    .map(({ id }) => id);
}
