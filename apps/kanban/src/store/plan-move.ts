import type { CardPlace } from '../board.ts';

/**
 * The new places that moving one card makes necessary: its own, and those of the cards it passes. Only cards
 * whose place changes are returned. Gaps in the positions are closed on the way.
 *
 * @param cards all cards of the source and the target column, in any order.
 * @param position where the card shall be in the target column, from 0; beyond the end means the end.
 */
export function planMove(
  cards: readonly CardPlace[],
  cardId: string,
  columnId: string,
  position: number,
): CardPlace[] {
  const moved = cards.find(card => card.id === cardId);
  if (!moved) throw new TypeError('The card to move is not among the cards.');
  const target = inOrder(cards, columnId).filter(card => card.id !== cardId);
  target.splice(Math.max(0, position), 0, moved);
  const places = renumber(target, columnId);
  if (moved.columnId === columnId) return places;
  const rest = inOrder(cards, moved.columnId).filter(card => card.id !== cardId);
  return [...places, ...renumber(rest, moved.columnId)];
}

function inOrder(cards: readonly CardPlace[], columnId: string): CardPlace[] {
  return cards.filter(card => card.columnId === columnId).sort((a, b) => a.position - b.position);
}

function renumber(cards: readonly CardPlace[], columnId: string): CardPlace[] {
  return cards
    .map((card, position) => ({ id: card.id, columnId, position, unchanged: isAt(card, columnId, position) }))
    .filter(place => !place.unchanged)
    .map(({ id, columnId, position }) => ({ id, columnId, position }));
}

function isAt(card: CardPlace, columnId: string, position: number): boolean {
  return card.columnId === columnId && card.position === position;
}
