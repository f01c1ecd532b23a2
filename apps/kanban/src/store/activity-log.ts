import type { Receipt, Tenant } from '@onewriter/sdk';
import type { Activity, NewActivity } from '../board.ts';

/** The log of what was done. */
export class ActivityLog {
  readonly #tenant: Tenant;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  /**
   * Appends to the activity log. Resolves when the queue has the line, before it is in the file; most callers do
   * not wait for that either.
   */
  enqueue(activity: NewActivity): Promise<Receipt> {
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
  async list(limit = 20): Promise<Activity[]> {
    const rows = await this.#tenant
      .prepare<[number], Omit<Activity, 'details'> & { details: string }>(
        `SELECT a.id, a.member_id AS memberId, m.name AS memberName, a.action, a.board_id AS boardId,
              a.card_id AS cardId, c.title AS cardTitle, a.details, a.created_at AS createdAt
         FROM activity a
         LEFT JOIN member m ON m.id = a.member_id
         LEFT JOIN card c ON c.id = a.card_id
        ORDER BY a.id DESC LIMIT ?`,
      )
      .all(limit);
    return rows.map(row => ({ ...row, details: JSON.parse(row.details) }));
  }
}
