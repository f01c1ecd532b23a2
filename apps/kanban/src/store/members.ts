import type { Receipt, Tenant } from '@onewriter/sdk';
import type { Member, Points } from '../board.ts';

/** Points of a person who is not (or no longer) a member are dropped. */
const ADD_POINTS = `
  INSERT INTO points(member_id, year, month, total) SELECT id, ?, ?, ? FROM member WHERE id = ?
      ON CONFLICT(member_id, year, month) DO UPDATE SET total = total + excluded.total`;

function pointsParameters(points: Points): [number, number, number, string] {
  return [points.year, points.month, points.total, points.memberId];
}

/** Members, and the points that they earn. */
export class Members {
  readonly #tenant: Tenant;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  /** Adds a member, or renames one. */
  async put(member: Member): Promise<void> {
    await this.#tenant
      .prepare(
        'INSERT INTO member(id, name) VALUES (?, ?) ON CONFLICT(id) DO UPDATE SET name = excluded.name',
      )
      .run(member.id, member.name);
  }

  async list(): Promise<Member[]> {
    return this.#tenant.prepare<[], Member>('SELECT id, name FROM member ORDER BY name, id').all();
  }

  /** Adds to a member's points of a month. The sum is made by the writer: no update is lost. */
  async addPoints(points: Points): Promise<void> {
    await this.#tenant.prepare(ADD_POINTS).run(...pointsParameters(points));
  }

  /** {@link addPoints}, without waiting for the commit. */
  enqueuePoints(points: Points): Promise<Receipt> {
    return this.#tenant.enqueue(ADD_POINTS, pointsParameters(points));
  }

  /** The points of all members, newest month first, most points first. At most 100. */
  async listPoints(): Promise<Points[]> {
    return this.#tenant
      .prepare<[], Points>(
        `SELECT member_id AS memberId, year, month, total FROM points
        ORDER BY year DESC, month DESC, total DESC, member_id LIMIT 100`,
      )
      .all();
  }
}
