import type { Parts } from '../parts.ts';
import { addBackupRoute } from './backup-route.ts';
import { addCheckRoute } from './check-route.ts';
import { addDurabilityRoute } from './durability-route.ts';
import { addHibernateRoutes } from './hibernate-routes.ts';
import { addHistoryRoutes } from './history-routes.ts';
import { addLetterRoutes } from './letter-routes.ts';
import { addPauseRoutes } from './pause-routes.ts';
import { addSqlRoute } from './sql-route.ts';
import { addTenantList } from './tenant-list-route.ts';
import { addTenantPage } from './tenant-page.ts';

/** The pages of tenants, and what a person can do on them. */
export function addTenantRoutes(parts: Parts): void {
  addTenantList(parts);
  addTenantPage(parts);
  addSqlRoute(parts);
  addHistoryRoutes(parts);
  addPauseRoutes(parts);
  addDurabilityRoute(parts);
  addHibernateRoutes(parts);
  addCheckRoute(parts);
  addBackupRoute(parts);
  addLetterRoutes(parts);
}
