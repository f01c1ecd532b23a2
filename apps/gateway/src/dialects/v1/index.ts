import type { Api } from './api.ts';
import { addAuditRoute } from './audit-route.ts';
import { addEnqueueRoute } from './enqueue-route.ts';
import { addEventsRoute } from './events-route.ts';
import { addExportRoute } from './export-route.ts';
import { addImportRoute } from './import-route.ts';
import { addLoadRoute } from './load-route.ts';
import { addOperationRoutes } from './operation-routes.ts';
import { addQueryRoute } from './query-route.ts';
import { addReceiptRoute } from './receipt-route.ts';
import { addSchemaRoute } from './schema-route.ts';
import { addTenantRoutes } from './tenants/index.ts';
import { addTokenRoutes } from './token-routes.ts';
import { addWriteRoutes } from './write-routes.ts';

/** Adds the native API. */
export function addV1Routes(api: Api): void {
  addQueryRoute(api);
  addWriteRoutes(api);
  addEnqueueRoute(api);
  addReceiptRoute(api);
  addTenantRoutes(api);
  addSchemaRoute(api);
  addEventsRoute(api);
  addExportRoute(api);
  addImportRoute(api);
  addLoadRoute(api);
  addOperationRoutes(api);
  addAuditRoute(api);
  addTokenRoutes(api);
}
