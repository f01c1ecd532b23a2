import { isOnewriterError } from '@onewriter/protocol';
import type { Receipt, Statement, Tenant, TransactionStatement } from '@onewriter/sdk';
import {
  type Activity,
  type Attachment,
  type Board,
  type BoardView,
  type Card,
  type CardChange,
  type CardFields,
  type CardPlace,
  type CardView,
  type Column,
  type Comment,
  MAX_CARDS_PER_BOARD,
  type Member,
  type NewActivity,
  type NewCard,
  type NewComment,
  type Points,
} from './board.ts';
import { KanbanError, notFound } from './kanban-error.ts';
import { planMove } from './plan-move.ts';

/** Tries of a drag that other changes overtake; of those that compete in one round, one always succeeds. */
const MAX_MOVE_ATTEMPTS = 50;

/** Which column of `card` holds which field; also the list of fields that {@link BoardStore.editCard} accepts. */
const CARD_COLUMNS = {
  title: 'title',
  description: 'description',
  memberId: 'member_id',
  priority: 'priority',
  effort: 'effort',
  dueDate: 'due_date',
} as const satisfies Record<keyof CardFields, string>;

const CARD_ROWS = `
  SELECT c.id, c.board_id AS boardId, c.column_id AS columnId, c.ticket, c.title, c.description,
         c.member_id AS memberId, c.priority, c.effort, c.due_date AS dueDate, c.position,
         c.created_at AS createdAt, c.updated_at AS updatedAt,
         (SELECT json_group_array(t.name ORDER BY t.name)
            FROM card_tag ct JOIN tag t ON t.id = ct.tag_id WHERE ct.card_id = c.id) AS tags,
         (SELECT COUNT(*) FROM comment m WHERE m.card_id = c.id) AS commentCount
    FROM card c`;

type CardRow = Omit<Card, 'tags'> & { readonly tags: string };

/**
 * Everything that is read and written on one tenant's boards: one method per thing a person does, its SQL beside
 * it. It keeps no state of its own, so that any number of processes may have one for the same tenant.
 *
 * What must not race is decided by the writer, inside the transaction: ticket numbers by a counter row, points by
 * arithmetic in SQL, orders by arithmetic or a compared `board.order_version`, limits by the condition of an INSERT.
 *
 * Every method throws what the SDK throws (OnewriterError), and KanbanError where it says so.
 */
export class BoardStore {
  readonly #tenant: Tenant;

  /** @param tenant with a schema, see `migrate` */
  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  get tenantId(): string {
    return this.#tenant.id;
  }

  // Members, points, settings

  /** Adds a member, or renames one. */
  async putMember(member: Member): Promise<void> {
    await this.#prepare(
      'INSERT INTO member(id, name) VALUES (?, ?) ON CONFLICT(id) DO UPDATE SET name = excluded.name',
    ).run(member.id, member.name);
  }

  async readMembers(): Promise<Member[]> {
    return this.#prepare<[], Member>('SELECT id, name FROM member ORDER BY name, id').all();
  }

  /** Adds to a member's points of a month. The sum is made by the writer: no update is lost. */
  async addPoints(points: Points): Promise<void> {
    await this.#prepare(ADD_POINTS).run(...pointsParameters(points));
  }

  /** {@link addPoints}, without waiting for the commit. */
  enqueuePoints(points: Points): Promise<Receipt> {
    return this.#tenant.enqueue(ADD_POINTS, pointsParameters(points));
  }

  /** The points of all members, newest month first, most points first. At most 100. */
  async readPoints(): Promise<Points[]> {
    return this.#prepare<[], Points>(
      `SELECT member_id AS memberId, year, month, total FROM points
        ORDER BY year DESC, month DESC, total DESC, member_id LIMIT 100`,
    ).all();
  }

  async putSetting(key: string, value: string): Promise<void> {
    await this.#prepare('INSERT OR REPLACE INTO setting(key, value) VALUES (?, ?)').run(key, value);
  }

  async readSetting(key: string): Promise<string | undefined> {
    const row = await this.#prepare<[string], { value: string }>(
      'SELECT value FROM setting WHERE key = ?',
    ).get(key);
    return row?.value;
  }

  // Boards and columns

  /** Creates a board with its columns, left to right. */
  async createBoard(board: Board, columns: readonly Pick<Column, 'id' | 'title'>[]): Promise<void> {
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
  async renameBoard(boardId: string, title: string): Promise<void> {
    const { changes } = await this.#prepare('UPDATE board SET title = ? WHERE id = ?').run(title, boardId);
    if (changes === 0) throw notFound('board');
  }

  /** Deletes a board and all that is on it. @throws KanbanError NOT_FOUND */
  async deleteBoard(boardId: string): Promise<void> {
    const { changes } = await this.#prepare('DELETE FROM board WHERE id = ?').run(boardId);
    if (changes === 0) throw notFound('board');
  }

  /** All boards, oldest first. */
  async readBoards(): Promise<Board[]> {
    return this.#prepare<[], Board>(
      'SELECT id, title, created_at AS createdAt FROM board ORDER BY created_at, id',
    ).all();
  }

  /** Adds a column at the right end. @throws KanbanError NOT_FOUND */
  async addColumn(boardId: string, column: Pick<Column, 'id' | 'title'>): Promise<void> {
    const { changes } = await this.#prepare(
      `INSERT INTO board_column(id, board_id, title, position)
       SELECT ?, b.id, ?, (SELECT COALESCE(MAX(k.position) + 1, 0) FROM board_column k WHERE k.board_id = b.id)
         FROM board b WHERE b.id = ?`,
    ).run(column.id, column.title, boardId);
    if (changes === 0) throw notFound('board');
  }

  /** @throws KanbanError NOT_FOUND */
  async renameColumn(columnId: string, title: string): Promise<void> {
    const { changes } = await this.#prepare('UPDATE board_column SET title = ? WHERE id = ?').run(
      title,
      columnId,
    );
    if (changes === 0) throw notFound('column');
  }

  /** Deletes a column with its cards, and moves those to its right up. @throws KanbanError NOT_FOUND */
  async deleteColumn(columnId: string): Promise<void> {
    await this.#changeOrThrow('column', [
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
  async readBoard(boardId: string): Promise<BoardView> {
    const board = await this.#prepare<[string], Board>(
      'SELECT id, title, created_at AS createdAt FROM board WHERE id = ?',
    ).get(boardId);
    if (!board) throw notFound('board');
    const columns = await this.#prepare<[string], Column>(
      `SELECT id, board_id AS boardId, title, position, card_count AS cardCount
         FROM board_column WHERE board_id = ? ORDER BY position`,
    ).all(boardId);
    const cards = await this.#prepare<[string], CardRow>(
      `${CARD_ROWS} WHERE c.board_id = ? ORDER BY c.column_id, c.position`,
    ).all(boardId);
    return { ...board, columns, cards: cards.map(toCard) };
  }

  // Cards

  /**
   * Puts a new card on top of its column and gives it the tenant's next ticket number.
   *
   * @returns the ticket number
   * @throws KanbanError NOT_FOUND (column), BOARD_FULL
   */
  async createCard(card: NewCard): Promise<number> {
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
      const column = await this.#prepare<[string], { id: string }>(
        'SELECT id FROM board_column WHERE id = ?',
      ).get(card.columnId);
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
  async editCard(cardId: string, fields: CardChange, at: string): Promise<void> {
    const names = (Object.keys(CARD_COLUMNS) as (keyof CardFields)[]).filter(
      name => fields[name] !== undefined,
    );
    const assignments = [...names.map(name => `${CARD_COLUMNS[name]} = ?`), 'updated_at = ?'];
    const values = [...names.map(name => fields[name]!), at];
    const { changes } = await this.#prepare(`UPDATE card SET ${assignments.join(', ')} WHERE id = ?`).run(
      ...values,
      cardId,
    );
    if (changes === 0) throw notFound('card');
  }

  /**
   * Drags a card to a place in a column of its board: one transaction with one UPDATE for every card whose place
   * changes. They are planned from what was read; the writer compares the board's order with the one that was
   * read, and where anybody changed it in between, nothing is applied and the drag is planned again.
   *
   * @param position from 0; beyond the end means the end.
   * @returns the number of cards that changed place
   * @throws KanbanError NOT_FOUND, CONFLICT
   */
  async moveCard(cardId: string, columnId: string, position: number, at: string): Promise<number> {
    for (let attempt = 1; attempt <= MAX_MOVE_ATTEMPTS; attempt++) {
      // The version is read first: what changes after it is refused, whatever the next reads see.
      const board = await this.#prepare<[string], { id: string; version: number; columnId: string }>(
        `SELECT b.id, b.order_version AS version, c.column_id AS columnId
           FROM card c JOIN board b ON b.id = c.board_id WHERE c.id = ?`,
      ).get(cardId);
      if (!board) throw notFound('card');
      if (!(await this.#isColumnOf(board.id, columnId))) throw notFound('column');
      const cards = await this.#prepare<[string, string], CardPlace>(
        'SELECT id, column_id AS columnId, position FROM card WHERE column_id IN (?, ?)',
      ).all(board.columnId, columnId);
      if (!cards.some(card => card.id === cardId)) continue; // it left since the version was read
      const places = planMove(cards, cardId, columnId, position);
      if (places.length === 0) return 0;
      try {
        await this.#tenant.transaction([
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

  /** Deletes a card, and moves those below it up. @throws KanbanError NOT_FOUND */
  async deleteCard(cardId: string): Promise<void> {
    await this.#changeOrThrow('card', [
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
  async readCard(cardId: string): Promise<CardView> {
    const card = await this.#prepare<[string], CardRow>(`${CARD_ROWS} WHERE c.id = ?`).get(cardId);
    if (!card) throw notFound('card');
    const comments = await this.#prepare<[string], Omit<Comment, 'attachments'>>(
      `SELECT id, member_id AS memberId, text, created_at AS createdAt
         FROM comment WHERE card_id = ? ORDER BY created_at, id`,
    ).all(cardId);
    const attachments = await this.#prepare<[string], Attachment & { commentId: string }>(
      `SELECT comment_id AS commentId, id, name, url, type, size_bytes AS sizeBytes
         FROM attachment WHERE comment_id IN (SELECT id FROM comment WHERE card_id = ?) ORDER BY id`,
    ).all(cardId);
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
    await this.#changeOrThrow('card or member', [
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
    await this.#changeOrThrow('card', [
      { sql: 'INSERT OR IGNORE INTO tag(name) VALUES (?)', params: [name] },
      {
        sql: 'INSERT OR IGNORE INTO card_tag(card_id, tag_id) SELECT ?, id FROM tag WHERE name = ?',
        params: [cardId, name],
      },
    ]);
  }

  /** Removes a tag from a card; it need not have it. */
  async removeTag(cardId: string, name: string): Promise<void> {
    await this.#prepare(
      'DELETE FROM card_tag WHERE card_id = ? AND tag_id = (SELECT id FROM tag WHERE name = ?)',
    ).run(cardId, name);
  }

  // Activity

  /**
   * Appends to the activity log. Resolves when the queue has the line, before it is in the file; most callers do
   * not wait for that either.
   */
  enqueueActivity(activity: NewActivity): Promise<Receipt> {
    return this.#tenant.enqueue(
      'INSERT INTO activity(member_id, action, board_id, card_id, details) VALUES (?, ?, ?, ?, ?)',
      [
        activity.memberId,
        activity.action,
        activity.boardId,
        activity.cardId,
        JSON.stringify(activity.details ?? {}),
      ],
    );
  }

  /** The newest lines of the log, newest first. */
  async readActivity(limit = 20): Promise<Activity[]> {
    const rows = await this.#prepare<[number], Omit<Activity, 'details'> & { details: string }>(
      `SELECT a.id, a.member_id AS memberId, m.name AS memberName, a.action, a.board_id AS boardId,
              a.card_id AS cardId, c.title AS cardTitle, a.details, a.created_at AS createdAt
         FROM activity a
         LEFT JOIN member m ON m.id = a.member_id
         LEFT JOIN card c ON c.id = a.card_id
        ORDER BY a.id DESC LIMIT ?`,
    ).all(limit);
    return rows.map(row => ({ ...row, details: JSON.parse(row.details) }));
  }

  // The rest is private

  #prepare<Params extends readonly unknown[] | object = (string | number | null)[], Row = object>(
    sql: string,
  ): Statement<Params, Row> {
    return this.#tenant.prepare<Params, Row>(sql);
  }

  async #isColumnOf(boardId: string, columnId: string): Promise<boolean> {
    const row = await this.#prepare<[string, string], { id: string }>(
      'SELECT id FROM board_column WHERE id = ? AND board_id = ?',
    ).get(columnId, boardId);
    return row !== undefined;
  }

  /** A transaction whose only way to fail is that `what` is not there. */
  async #changeOrThrow(what: string, statements: TransactionStatement[]): Promise<void> {
    try {
      await this.#tenant.transaction(statements);
    } catch (error) {
      const isMissing =
        isOnewriterError(error, 'EXPECTATION_FAILED') ||
        (isOnewriterError(error) && error.details.sqliteCode === 'SQLITE_CONSTRAINT_FOREIGNKEY');
      throw isMissing ? notFound(what) : error;
    }
  }
}

/** Points of a person who is not (or no longer) a member are dropped. */
const ADD_POINTS = `
  INSERT INTO points(member_id, year, month, total) SELECT id, ?, ?, ? FROM member WHERE id = ?
      ON CONFLICT(member_id, year, month) DO UPDATE SET total = total + excluded.total`;

function pointsParameters(points: Points): [number, number, number, string] {
  return [points.year, points.month, points.total, points.memberId];
}

function toCard(row: CardRow): Card {
  return { ...row, tags: JSON.parse(row.tags) as string[] };
}
