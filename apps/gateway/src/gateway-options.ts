import type { OperationStore } from '@onewriter/operations';
import type { Durability } from '@onewriter/protocol';
import type { Logger, RevocationFiles, TokenVerifier } from '@onewriter/runtime';
import type { Onewriter } from '@onewriter/sdk';
import type { TenantCatalogue } from '@onewriter/tenants';
import type { Tracer } from '@opentelemetry/api';
import type { BodyReader } from './bodies/body-reader.ts';
import type { Leniency } from './dialects/drop-in/leniency.ts';
import type { Hrana } from './dialects/hrana/hrana.ts';
import type { Exporter } from './export/run-export.ts';
import type { GatewayMetrics } from './http/gateway-metrics.ts';
import type { HealthCheck } from './http/health.ts';
import type { Loader } from './load/loader.ts';
import type { OperationRunner } from './operations/operation-runner.ts';
import type { IntegrityCheck } from './processes/integrity-check.ts';
import type { TenantReads } from './reads/tenant-reads.ts';
import type { GatewayReplica } from './replica/gateway-replica.ts';
import type { AuditLog } from './security/audit-log.ts';
import type { RateLimits } from './security/rate-limits.ts';
import type { Tokenless } from './security/tokenless.ts';
import type { StreamRooms } from './streams/stream-room.ts';
import type { TenantBuilder } from './tenants/build-tenant.ts';
import type { TenantDeletion } from './tenants/delete-tenant.ts';
import type { PauseFlags } from './tenants/pause-flags.ts';
import type { TenantFiles } from './tenants/tenant-files.ts';

/** What the gateway is made of; the entry point wires it. */
export interface GatewayOptions {
  /** Writes, and receipts. */
  readonly onewriter: Pick<Onewriter, 'tenant' | 'stats'>;
  readonly reads: TenantReads;
  /** The libSQL protocol. */
  readonly hrana: Hrana;
  readonly health: HealthCheck;
  readonly checkIntegrity: IntegrityCheck;
  readonly pauses: PauseFlags;
  /** Tenants as a whole. */
  readonly tenants: {
    readonly files: TenantFiles;
    /** Makes an empty one. @returns false where there is one already */
    readonly create: (tenant: string, who: string) => Promise<boolean>;
    readonly build: TenantBuilder;
    readonly catalogue: TenantCatalogue;
    readonly remove: TenantDeletion;
    /** @param durability undefined: that of the settings @throws Error of Redis */
    readonly setDurability: (tenant: string, durability: Durability | undefined) => Promise<void>;
  };
  readonly audit: AuditLog;
  /** Long work. */
  readonly operations: {
    readonly store: OperationStore;
    readonly runner: OperationRunner;
    readonly load: Loader;
    /** Folder of all backups. */
    readonly backups: string;
  };
  /** Absent: ONEWRITER_REPLICA_URL is not set. */
  readonly replica?: GatewayReplica | undefined;
  readonly exporter: Exporter;
  readonly verifyToken: TokenVerifier;
  /** Peers that need no token at the drop-in routes. Absent: all need one. */
  readonly tokenless?: Pick<Tokenless, 'access'> | undefined;
  /** What drop-in clients may do that SQLite refuses. */
  readonly leniency: Pick<Leniency, 'run'>;
  readonly revocations: Pick<RevocationFiles, 'add' | 'list'>;
  readonly limits: RateLimits;
  /** Origins whose pages may call the gateway; none where it is empty. */
  readonly corsOrigins: readonly string[];
  /** Whether the process is shutting down. */
  readonly draining: () => boolean;
  /** Fires when the process begins to shut down: what streams ends early, with the truth. */
  readonly closing: AbortSignal;
  readonly maxBodyBytes: number;
  /** Requests with a valid token under way; default: 10,000. */
  readonly maxRequests?: number | undefined;
  /** Reads large bodies; absent: the event loop reads them, too. */
  readonly bodies?: BodyReader | undefined;
  /** What streams of writes have under way; default: one with the usual bounds. */
  readonly rooms?: StreamRooms | undefined;
  /** Deadline of every request that waits for the writer. */
  readonly writeTimeoutMs: number;
  /** Deadline of every read. */
  readonly readTimeoutMs: number;
  /** Absent: nothing is counted, and there is no /metrics. */
  readonly metrics?: GatewayMetrics | undefined;
  readonly log: Logger;
  /** Makes the spans of requests; undefined where tracing is off. */
  readonly tracer?: Tracer | undefined;
}
