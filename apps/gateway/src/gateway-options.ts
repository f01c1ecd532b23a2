import type { Logger } from '@onewriter/runtime';
import type { Onewriter } from '@onewriter/sdk';
import type { HealthCheck } from './health.ts';
import type { IntegrityCheck } from './integrity-check.ts';

/** What the gateway is made of; the entry point wires it. */
export interface GatewayOptions {
  readonly onewriter: Pick<Onewriter, 'tenant' | 'stats'>;
  readonly health: HealthCheck;
  readonly checkIntegrity: IntegrityCheck;
  /** Whether the process is shutting down. */
  readonly draining: () => boolean;
  readonly tokenSecret: string;
  readonly maxBodyBytes: number;
  /** Deadline of every request that waits for the database. */
  readonly writeTimeoutMs: number;
  readonly log: Logger;
}
