import { isOnewriterError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';
import type { CardPlace } from '../board.ts';
import { KanbanError, notFound } from '../kanban-error.ts';
import { planMove } from './plan-move.ts';

/** Tries of a drag that other changes overtake; of those that compete in one round, one always succeeds. */
const MAX_MOVE_ATTEMPTS = 50;

/**
 * Drags a card to a place in a column of its board: one transaction with one UPDATE for every card whose place
 * changes. They are planned from what was read; the writer compares the board's order with the one that was
 * read, and where another client changed it in between, nothing is applied and the drag is planned again.
 *
 * @param position from 0; beyond the end means the end.
 * @returns the number of cards that changed place
 * @throws KanbanError NOT_FOUND, CONFLICT
 */
export async function moveCard(
  tenant: Tenant,
  cardId: string,
  columnId: string,
  position: number,
  at: string,
): Promise<number> {
  for (let attempt = 1; attempt <= MAX_MOVE_ATTEMPTS; attempt++) {
    // The version is read first: what changes after it is refused, whatever the next reads see.
    const board = await tenant
      .prepare<[string], { id: string; version: number; columnId: string }>(
        `SELECT b.id, b.order_version AS version, c.column_id AS columnId
         FROM card c JOIN board b ON b.id = c.board_id WHERE c.id = ?`,
      )
      .get(cardId);
    if (!board) throw notFound('card');
    if (!(await isColumnOf(tenant, board.id, columnId))) throw notFound('column');
    const cards = await tenant
      .prepare<[string, string], CardPlace>(
        'SELECT id, column_id AS columnId, position FROM card WHERE column_id IN (?, ?)',
      )
      .all(board.columnId, columnId);
    if (!cards.some(card => card.id === cardId)) continue; // it left since the version was read
    const places = planMove(cards, cardId, columnId, position);
    if (places.length === 0) return 0;
    try {
      await tenant.transaction([
        {
          sql: 'UPDATE board SET order_version = order_version + 1 WHERE id = ? AND order_version = ?',
          params: [board.id, board.version],
          expect: { changes: 1 },
        },
        ...places.map(place => ({
          sql: 'UPDATE card SET position = ?, column_id = ?, updated_at = ? WHERE id = ?',
          params: [place.position, place.columnId, at, place.id],
        })),
      ]);
      return places.length;
    } catch (error) {
      if (!isOnewriterError(error, 'EXPECTATION_FAILED')) throw error;
    }
  }
  throw new KanbanError('CONFLICT', 'Others are moving cards on this board all the time; try again.');
}

async function isColumnOf(tenant: Tenant, boardId: string, columnId: string): Promise<boolean> {
  const row = await tenant
    .prepare<[string, string], { id: string }>('SELECT id FROM board_column WHERE id = ? AND board_id = ?')
    .get(columnId, boardId);
  return row !== undefined;
}
