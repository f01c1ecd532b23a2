import type { HttpBindings } from '@hono/node-server';
import type { VerifiedToken } from '@onewriter/runtime';

/** Who asks: a person or a script with access `admin` to all tenants. */
export interface Operator extends VerifiedToken {
  /** The token itself: what the gateway is asked for a person is asked with that person's token. */
  readonly token: string;
  /** The address that the request came from; '' where it is not known. */
  readonly address: string;
  /** Whether token and session still count. @throws OnewriterError UNAUTHENTICATED */
  readonly check: () => Promise<void>;
}

/** What the dashboard's handlers find in their context. */
export interface DashboardEnv {
  /** Absent where the app is called without a server. */
  readonly Bindings: Partial<HttpBindings>;
  readonly Variables: {
    /** Set behind the login. */
    operator: Operator;
  };
}
