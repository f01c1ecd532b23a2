import type { Logger, TokenVerifier } from '@onewriter/runtime';
import type { Onewriter } from '@onewriter/sdk';
import type { HealthCheck } from './health.ts';
import type { IntegrityCheck } from './integrity-check.ts';
import type { Reads } from './reads/read-processes.ts';
import type { RateLimits } from './security/rate-limits.ts';
import type { PauseFlags } from './tenants/pause-flags.ts';

/** What the gateway is made of; the entry point wires it. */
export interface GatewayOptions {
  /** Writes, and receipts. */
  readonly onewriter: Pick<Onewriter, 'tenant' | 'stats'>;
  readonly reads: Reads;
  readonly health: HealthCheck;
  readonly checkIntegrity: IntegrityCheck;
  readonly pauses: PauseFlags;
  readonly verifyToken: TokenVerifier;
  readonly limits: RateLimits;
  /** Whether the process is shutting down. */
  readonly draining: () => boolean;
  /** Fires when the process begins to shut down: what streams ends early, with the truth. */
  readonly closing: AbortSignal;
  readonly maxBodyBytes: number;
  /** Deadline of every request that waits for the writer. */
  readonly writeTimeoutMs: number;
  /** Deadline of every read. */
  readonly readTimeoutMs: number;
  readonly log: Logger;
}
