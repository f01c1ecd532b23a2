import type { Logger } from '@onewriter/runtime';
import type { LetterBox } from '@onewriter/runtime/dead-letters';
import type { Hono } from 'hono';
import type { Redis } from 'ioredis';
import type { DashboardEnv } from './dashboard-env.ts';
import type { DashboardGateway } from './dashboard-gateway.ts';
import type { RegionStreams } from './live/region-stream.ts';
import type { StatusWatch } from './live/status-watch.ts';
import type { AuditTrail } from './security/audit-trail.ts';
import type { TenantWatch } from './tenants/tenant-watch.ts';

/** What the routes share. */
export interface Parts {
  readonly app: Hono<DashboardEnv>;
  readonly redis: Redis;
  readonly group: string;
  readonly log: Logger;
  readonly watch: StatusWatch;
  readonly streams: RegionStreams;
  readonly gateway: DashboardGateway;
  readonly letters: LetterBox;
  readonly tenants: TenantWatch;
  readonly audit: AuditTrail;
}
