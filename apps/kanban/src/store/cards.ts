import { isOnewriterError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';
import {
  type Attachment,
  type CardChange,
  type CardFields,
  type CardView,
  type Comment,
  MAX_CARDS_PER_BOARD,
  type NewCard,
  type NewComment,
} from '../board.ts';
import { KanbanError, notFound } from '../kanban-error.ts';
import { CARD_ROWS, type CardRow, toCard } from './card-rows.ts';
import { changeOrThrow } from './change-or-throw.ts';
import { moveCard } from './move-card.ts';

/** Which column of `card` holds which field; also the list of fields that {@link Cards.edit} accepts. */
const CARD_COLUMNS = {
  title: 'title',
  description: 'description',
  memberId: 'member_id',
  priority: 'priority',
  effort: 'effort',
  dueDate: 'due_date',
} as const satisfies Record<keyof CardFields, string>;

/** Cards, with their comments and tags. */
export class Cards {
  readonly #tenant: Tenant;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  /**
   * Puts a new card on top of its column and gives it the tenant's next ticket number.
   *
   * @returns the ticket number
   * @throws KanbanError NOT_FOUND (column), BOARD_FULL
   */
  async create(card: NewCard): Promise<number> {
    try {
      const results = await this.#tenant.transaction([
        {
          // The counter moves inside the transaction, so two cards never get one number, and a card that is
          // refused below uses up none.
          sql: `UPDATE counter SET value = value + 1 WHERE name = 'ticket'`,
          expect: { changes: 1 },
        },
        {
          sql: `UPDATE board SET order_version = order_version + 1
                 WHERE id = (SELECT board_id FROM board_column WHERE id = ?)`,
          params: [card.columnId],
        },
        {
          sql: 'UPDATE card SET position = position + 1 WHERE column_id = ?',
          params: [card.columnId],
        },
        {
          sql: `INSERT INTO card(id, board_id, column_id, ticket, title, description, member_id, priority, effort,
                                 due_date, position, created_at, updated_at)
                SELECT ?, k.board_id, k.id, n.value, ?, ?, ?, ?, ?, ?, 0, ?, ?
                  FROM board_column k JOIN counter n ON n.name = 'ticket'
                 WHERE k.id = ?
                   AND (SELECT SUM(s.card_count) FROM board_column s WHERE s.board_id = k.board_id) < ?
                RETURNING ticket`,
          params: [
            card.id,
            card.title,
            card.description,
            card.memberId,
            card.priority,
            card.effort,
            card.dueDate,
            card.at,
            card.at,
            card.columnId,
            MAX_CARDS_PER_BOARD,
          ],
          expect: { rows: 1 },
        },
      ]);
      return Number(results.at(-1)!.rows![0]!['ticket']);
    } catch (error) {
      if (!isOnewriterError(error, 'EXPECTATION_FAILED')) throw error;
      const column = await this.#tenant
        .prepare<[string], { id: string }>('SELECT id FROM board_column WHERE id = ?')
        .get(card.columnId);
      if (!column) throw notFound('column');
      throw new KanbanError(
        'BOARD_FULL',
        `A board holds ${MAX_CARDS_PER_BOARD} cards; delete some, or use another board.`,
      );
    }
  }

  /**
   * Changes the fields that are given and leaves the others, so that two people who edit different fields of a
   * card both keep their change.
   *
   * @throws KanbanError NOT_FOUND
   */
  async edit(cardId: string, fields: CardChange, at: string): Promise<void> {
    const names = (Object.keys(CARD_COLUMNS) as (keyof CardFields)[]).filter(
      name => fields[name] !== undefined,
    );
    const assignments = [...names.map(name => `${CARD_COLUMNS[name]} = ?`), 'updated_at = ?'];
    const values = [...names.map(name => fields[name]!), at];
    const { changes } = await this.#tenant
      .prepare(`UPDATE card SET ${assignments.join(', ')} WHERE id = ?`)
      .run(...values, cardId);
    if (changes === 0) throw notFound('card');
  }

  /** See {@link moveCard}. */
  move(cardId: string, columnId: string, position: number, at: string): Promise<number> {
    return moveCard(this.#tenant, cardId, columnId, position, at);
  }

  /** Deletes a card, and moves those below it up. @throws KanbanError NOT_FOUND */
  async delete(cardId: string): Promise<void> {
    await changeOrThrow(this.#tenant, 'card', [
      {
        sql: `UPDATE board SET order_version = order_version + 1
               WHERE id = (SELECT board_id FROM card WHERE id = ?)`,
        params: [cardId],
        expect: { changes: 1 },
      },
      {
        sql: `UPDATE card SET position = position - 1
               WHERE column_id = (SELECT column_id FROM card WHERE id = ?)
                 AND position > (SELECT position FROM card WHERE id = ?)`,
        params: [cardId, cardId],
      },
      { sql: 'DELETE FROM card WHERE id = ?', params: [cardId] },
    ]);
  }

  /** A card with its comments. @throws KanbanError NOT_FOUND */
  async read(cardId: string): Promise<CardView> {
    const card = await this.#tenant.prepare<[string], CardRow>(`${CARD_ROWS} WHERE c.id = ?`).get(cardId);
    if (!card) throw notFound('card');
    const comments = await this.#tenant
      .prepare<[string], Omit<Comment, 'attachments'>>(
        `SELECT id, member_id AS memberId, text, created_at AS createdAt
         FROM comment WHERE card_id = ? ORDER BY created_at, id`,
      )
      .all(cardId);
    const attachments = await this.#tenant
      .prepare<[string], Attachment & { commentId: string }>(
        `SELECT comment_id AS commentId, id, name, url, type, size_bytes AS sizeBytes
         FROM attachment WHERE comment_id IN (SELECT id FROM comment WHERE card_id = ?) ORDER BY id`,
      )
      .all(cardId);
    return {
      ...toCard(card),
      comments: comments.map(comment => ({
        ...comment,
        attachments: attachments
          .filter(attachment => attachment.commentId === comment.id)
          .map(({ commentId: _, ...attachment }) => attachment),
      })),
    };
  }

  /** Adds a comment with its attachments. @throws KanbanError NOT_FOUND (card or member) */
  async addComment(comment: NewComment): Promise<void> {
    await changeOrThrow(this.#tenant, 'card or member', [
      {
        sql: 'INSERT INTO comment(id, card_id, member_id, text, created_at) VALUES (?, ?, ?, ?, ?)',
        params: [comment.id, comment.cardId, comment.memberId, comment.text, comment.at],
      },
      ...comment.attachments.map(attachment => ({
        sql: 'INSERT INTO attachment(id, comment_id, name, url, type, size_bytes) VALUES (?, ?, ?, ?, ?, ?)',
        params: [
          attachment.id,
          comment.id,
          attachment.name,
          attachment.url,
          attachment.type,
          attachment.sizeBytes,
        ],
      })),
    ]);
  }

  /** Tags a card; it may have the tag already. @throws KanbanError NOT_FOUND */
  async addTag(cardId: string, name: string): Promise<void> {
    await changeOrThrow(this.#tenant, 'card', [
      { sql: 'INSERT OR IGNORE INTO tag(name) VALUES (?)', params: [name] },
      {
        sql: 'INSERT OR IGNORE INTO card_tag(card_id, tag_id) SELECT ?, id FROM tag WHERE name = ?',
        params: [cardId, name],
      },
    ]);
  }

  /** Removes a tag from a card; it need not have it. */
  async removeTag(cardId: string, name: string): Promise<void> {
    await this.#tenant
      .prepare('DELETE FROM card_tag WHERE card_id = ? AND tag_id = (SELECT id FROM tag WHERE name = ?)')
      .run(cardId, name);
  }
}
