import type { Tenant } from '@onewriter/sdk';
import { ActivityLog } from './activity-log.ts';
import { Boards } from './boards.ts';
import { Cards } from './cards.ts';
import { Members } from './members.ts';
import { Settings } from './settings.ts';

/**
 * Everything that is read and written on one tenant's boards: one method per thing a person does, its SQL beside
 * it. It keeps no state of its own, so that any number of processes may have one for the same tenant.
 *
 * What must not race is decided by the writer, inside the transaction: ticket numbers by a counter row, points by
 * arithmetic in SQL, orders by arithmetic or a compared `board.order_version`, limits by the condition of an INSERT.
 *
 * Every method throws what the SDK throws (OnewriterError), and KanbanError where it says so.
 */
export class KanbanStore {
  readonly tenantId: string;
  readonly members: Members;
  readonly settings: Settings;
  readonly boards: Boards;
  readonly cards: Cards;
  readonly activity: ActivityLog;

  /** @param tenant with a schema, see `migrate` */
  constructor(tenant: Tenant) {
    this.tenantId = tenant.id;
    this.members = new Members(tenant);
    this.settings = new Settings(tenant);
    this.boards = new Boards(tenant);
    this.cards = new Cards(tenant);
    this.activity = new ActivityLog(tenant);
  }
}
