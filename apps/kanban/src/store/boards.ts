import type { Tenant } from '@onewriter/sdk';
import type { Board, BoardView, Column } from '../board.ts';
import { notFound } from '../kanban-error.ts';
import { CARD_ROWS, type CardRow, toCard } from './card-rows.ts';
import { changeOrThrow } from './change-or-throw.ts';

/** Boards and their columns. */
export class Boards {
  readonly #tenant: Tenant;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  /** Creates a board with its columns, left to right. */
  async create(board: Board, columns: readonly Pick<Column, 'id' | 'title'>[]): Promise<void> {
    await this.#tenant.transaction([
      {
        sql: 'INSERT INTO board(id, title, created_at) VALUES (?, ?, ?)',
        params: [board.id, board.title, board.createdAt],
      },
      ...columns.map((column, position) => ({
        sql: 'INSERT INTO board_column(id, board_id, title, position) VALUES (?, ?, ?, ?)',
        params: [column.id, board.id, column.title, position],
      })),
    ]);
  }

  /** @throws KanbanError NOT_FOUND */
  async rename(boardId: string, title: string): Promise<void> {
    const { changes } = await this.#tenant
      .prepare('UPDATE board SET title = ? WHERE id = ?')
      .run(title, boardId);
    if (changes === 0) throw notFound('board');
  }

  /** Deletes a board and all that is on it. @throws KanbanError NOT_FOUND */
  async delete(boardId: string): Promise<void> {
    const { changes } = await this.#tenant.prepare('DELETE FROM board WHERE id = ?').run(boardId);
    if (changes === 0) throw notFound('board');
  }

  /** All boards, oldest first. */
  async list(): Promise<Board[]> {
    return this.#tenant
      .prepare<[], Board>('SELECT id, title, created_at AS createdAt FROM board ORDER BY created_at, id')
      .all();
  }

  /** Adds a column at the right end. @throws KanbanError NOT_FOUND */
  async addColumn(boardId: string, column: Pick<Column, 'id' | 'title'>): Promise<void> {
    const { changes } = await this.#tenant
      .prepare(
        `INSERT INTO board_column(id, board_id, title, position)
       SELECT ?, b.id, ?, (SELECT COALESCE(MAX(k.position) + 1, 0) FROM board_column k WHERE k.board_id = b.id)
         FROM board b WHERE b.id = ?`,
      )
      .run(column.id, column.title, boardId);
    if (changes === 0) throw notFound('board');
  }

  /** @throws KanbanError NOT_FOUND */
  async renameColumn(columnId: string, title: string): Promise<void> {
    const { changes } = await this.#tenant
      .prepare('UPDATE board_column SET title = ? WHERE id = ?')
      .run(title, columnId);
    if (changes === 0) throw notFound('column');
  }

  /** Deletes a column with its cards, and moves those to its right up. @throws KanbanError NOT_FOUND */
  async deleteColumn(columnId: string): Promise<void> {
    await changeOrThrow(this.#tenant, 'column', [
      {
        sql: `UPDATE board SET order_version = order_version + 1
               WHERE id = (SELECT board_id FROM board_column WHERE id = ?)`,
        params: [columnId],
        expect: { changes: 1 },
      },
      {
        sql: `UPDATE board_column SET position = position - 1
               WHERE board_id = (SELECT board_id FROM board_column WHERE id = ?)
                 AND position > (SELECT position FROM board_column WHERE id = ?)`,
        params: [columnId, columnId],
      },
      { sql: 'DELETE FROM board_column WHERE id = ?', params: [columnId] },
    ]);
  }

  /** A board with its columns and cards. @throws KanbanError NOT_FOUND */
  async read(boardId: string): Promise<BoardView> {
    const board = await this.#tenant
      .prepare<[string], Board>('SELECT id, title, created_at AS createdAt FROM board WHERE id = ?')
      .get(boardId);
    if (!board) throw notFound('board');
    const columns = await this.#tenant
      .prepare<[string], Column>(
        `SELECT id, board_id AS boardId, title, position, card_count AS cardCount
         FROM board_column WHERE board_id = ? ORDER BY position`,
      )
      .all(boardId);
    const cards = await this.#tenant
      .prepare<[string], CardRow>(`${CARD_ROWS} WHERE c.board_id = ? ORDER BY c.column_id, c.position`)
      .all(boardId);
    return { ...board, columns, cards: cards.map(toCard) };
  }
}
