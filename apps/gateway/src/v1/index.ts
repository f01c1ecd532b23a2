import type { Api } from './api.ts';
import { addEnqueueRoute } from './enqueue-route.ts';
import { addQueryRoute } from './query-route.ts';
import { addReceiptRoute } from './receipt-route.ts';
import { addWriteRoutes } from './write-routes.ts';

/** Adds the native API. */
export function addV1Routes(api: Api): void {
  addQueryRoute(api);
  addWriteRoutes(api);
  addEnqueueRoute(api);
  addReceiptRoute(api);
}
