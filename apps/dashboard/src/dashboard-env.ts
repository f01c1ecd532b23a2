import type { HttpBindings } from '@hono/node-server';

/** What the dashboard's handlers find in their context. */
export interface DashboardEnv {
  /** Absent where the app is called without a server. */
  readonly Bindings: Partial<HttpBindings>;
}
