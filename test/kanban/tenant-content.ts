import type { Attachment, Card, Column, Member, Points } from '@onewriter/kanban';
import type { Tenant } from '@onewriter/sdk';

/**
 * All that a tenant's boards hold, in an order that depends only on the ids: two contents are equal exactly if
 * `assert.deepEqual` says so. Without the activity log (its times are the writer's) and `board.order_version`.
 */
export interface TenantContent {
  readonly ticketCounter: number;
  readonly members: readonly Member[];
  readonly boards: readonly { readonly id: string; readonly title: string; readonly createdAt: string }[];
  readonly columns: readonly Column[];
  readonly cards: readonly Omit<Card, 'commentCount'>[];
  readonly comments: readonly {
    readonly id: string;
    readonly cardId: string;
    readonly memberId: string | null;
    readonly text: string;
    readonly createdAt: string;
  }[];
  readonly attachments: readonly (Attachment & { readonly commentId: string })[];
  readonly tags: readonly string[];
  readonly points: readonly Points[];
  readonly settings: readonly { readonly key: string; readonly value: string }[];
}

/** Reads a tenant's content, table by table; call it while no writes are under way. */
export async function readTenantContent(tenant: Tenant): Promise<TenantContent> {
  const all = <Row>(sql: string) => tenant.prepare<[], Row>(sql).all();
  const counters = await all<{ value: number }>(`SELECT value FROM counter WHERE name = 'ticket'`);
  const cards = await all<Omit<Card, 'commentCount' | 'tags'> & { tags: string }>(
    `SELECT id, board_id AS boardId, column_id AS columnId, ticket, title, description, member_id AS memberId,
            priority, effort, due_date AS dueDate, position, created_at AS createdAt, updated_at AS updatedAt,
            (SELECT json_group_array(t.name ORDER BY t.name)
               FROM card_tag ct JOIN tag t ON t.id = ct.tag_id WHERE ct.card_id = card.id) AS tags
       FROM card ORDER BY id`,
  );
  const tags = await all<{ name: string }>('SELECT name FROM tag ORDER BY name');
  return {
    ticketCounter: counters[0]!.value,
    members: await all('SELECT id, name FROM member ORDER BY id'),
    boards: await all('SELECT id, title, created_at AS createdAt FROM board ORDER BY id'),
    columns: await all(
      `SELECT id, board_id AS boardId, title, position, card_count AS cardCount FROM board_column ORDER BY id`,
    ),
    cards: cards.map(card => ({ ...card, tags: JSON.parse(card.tags) as string[] })),
    comments: await all(
      `SELECT id, card_id AS cardId, member_id AS memberId, text, created_at AS createdAt
         FROM comment ORDER BY id`,
    ),
    attachments: await all(
      `SELECT id, comment_id AS commentId, name, url, type, size_bytes AS sizeBytes FROM attachment ORDER BY id`,
    ),
    tags: tags.map(tag => tag.name),
    points: await all(
      'SELECT member_id AS memberId, year, month, total FROM points ORDER BY member_id, year, month',
    ),
    settings: await all('SELECT key, value FROM setting ORDER BY key'),
  };
}
