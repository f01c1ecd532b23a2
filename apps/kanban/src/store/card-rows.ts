import type { Card } from '../board.ts';

/** Cards as they are read; a WHERE follows. */
export const CARD_ROWS = `
  SELECT c.id, c.board_id AS boardId, c.column_id AS columnId, c.ticket, c.title, c.description,
         c.member_id AS memberId, c.priority, c.effort, c.due_date AS dueDate, c.position,
         c.created_at AS createdAt, c.updated_at AS updatedAt,
         (SELECT json_group_array(t.name ORDER BY t.name)
            FROM card_tag ct JOIN tag t ON t.id = ct.tag_id WHERE ct.card_id = c.id) AS tags,
         (SELECT COUNT(*) FROM comment m WHERE m.card_id = c.id) AS commentCount
    FROM card c`;

/** A row of {@link CARD_ROWS}. */
export type CardRow = Omit<Card, 'tags'> & { readonly tags: string };

export function toCard(row: CardRow): Card {
  return { ...row, tags: JSON.parse(row.tags) as string[] };
}
