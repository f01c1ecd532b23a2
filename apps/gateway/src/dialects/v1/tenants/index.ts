import type { Api } from '../api.ts';
import { addCreateRoute } from './create-route.ts';
import { addDeleteRoute } from './delete-route.ts';
import { addDurabilityRoute } from './durability-route.ts';
import { addGetRoute } from './get-route.ts';
import { addHibernateRoutes } from './hibernate-routes.ts';
import { addHistoryQueryRoute } from './history-query-route.ts';
import { addHistoryRoute } from './history-route.ts';
import { addListRoute } from './list-route.ts';
import { addPauseRoutes } from './pause-routes.ts';
import { addRestoreRoutes } from './restore-routes.ts';

/** `/v1/tenants` and what can be done with a tenant as a whole. */
export function addTenantRoutes(api: Api): void {
  addListRoute(api);
  addGetRoute(api);
  addCreateRoute(api);
  addPauseRoutes(api);
  addDurabilityRoute(api);
  addHibernateRoutes(api);
  addHistoryRoute(api);
  addHistoryQueryRoute(api);
  addRestoreRoutes(api);
  addDeleteRoute(api);
}
