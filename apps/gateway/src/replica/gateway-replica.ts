import type { DataPlace } from '@onewriter/files';
import { type HistoryPoint, OnewriterError, realDatabasePath, tenantFile } from '@onewriter/protocol';
import { hibernateTenant, type ReplicaAccess, readHistoryInProcess, stagePoint } from '@onewriter/replicator';
import type { Redis } from 'ioredis';
import type { Owner } from '../security/shares.ts';
import { Turns } from '../security/turns.ts';
import { PointFiles, type PointFilesOptions } from './point-files.ts';

/** The replica, as a gateway reads it. */
export interface GatewayReplica {
  readonly access: ReplicaAccess;
  /** @throws OnewriterError RATE_LIMITED, ABORTED, STATEMENT_TIMEOUT, REPLICA_… */
  history(request: HistoryRequest): Promise<readonly HistoryPoint[]>;
  /**
   * Takes a tenant's file away, once the replica has proved that it gives it back.
   * @throws OnewriterError RATE_LIMITED, and as the replicator's hibernateTenant
   */
  hibernate(request: GatewayHibernation): Promise<void>;
  /** What people look at before they go back. */
  readonly files: Pick<PointFiles, 'use' | 'close'>;
}

/** Whose history is asked for, and on whose account. */
export interface HistoryRequest {
  readonly tenant: string;
  /** Points at most. */
  readonly limit: number;
  readonly owner: Owner;
  readonly signal: AbortSignal;
}

/** Which tenant is hibernated, and on whose account. */
export interface GatewayHibernation {
  readonly tenant: string;
  readonly who: string;
  readonly reason: string;
  readonly force: boolean;
  readonly owner: Owner;
  readonly signal: AbortSignal;
}

/** Settings of {@link createGatewayReplica}. */
export interface GatewayReplicaOptions {
  readonly access: ReplicaAccess;
  readonly redis: Redis;
  readonly place: DataPlace;
  /** A file was taken away. */
  readonly onHibernated: (tenant: string) => void;
  /** Limit of each process. */
  readonly memoryBytes: number;
  /** Where files of former points lie, and how they are read. */
  readonly files: Omit<PointFilesOptions, 'stage' | 'dbFile' | 'fileOf'>;
}

/** Each is a process: 0.35 s of CPU, and a few requests of the store. */
const MAX_CALLERS = 32;
const MAX_RUNNING = 2;
const TIMEOUT_MS = 60_000;
/** Of a file that people look at: what an object store gives in that time. */
const RESTORE_TIMEOUT_MS = 120_000;
const MAX_POINT_FILE_BYTES = 512 * 1024 * 1024;

/** A {@link GatewayReplica} of one store. */
export function createGatewayReplica(options: GatewayReplicaOptions): GatewayReplica {
  const { access, redis, place, memoryBytes, onHibernated } = options;
  const turns = new Turns({
    what: 'histories that are read',
    callers: MAX_CALLERS,
    turns: MAX_RUNNING,
    turnsOfOwner: 1,
  });
  const hibernations = new Turns({
    what: 'tenants that are hibernated',
    callers: MAX_CALLERS,
    turns: MAX_RUNNING,
    turnsOfOwner: 1,
  });
  const limits = { timeoutMs: () => TIMEOUT_MS, memoryBytes };
  const files = new PointFiles({
    ...options.files,
    dbFile: place.dbFile,
    fileOf: tenant => realDatabasePath(tenantFile(place.dataDir, tenant, place.dbFile)),
    stage: request =>
      stagePoint(place, {
        ...{ ...request, access, maxBytes: MAX_POINT_FILE_BYTES, priority: 'usual' },
        limits: { timeoutMs: () => RESTORE_TIMEOUT_MS, memoryBytes },
      }),
  });
  return {
    access,
    files,
    hibernate: async ({ owner, ...request }) => {
      const { turn, leave } = hibernations.enter(owner);
      try {
        await turn(request.signal);
        await hibernateTenant(place, {
          ...{ ...request, access, redis, priority: 'usual' },
          limits: { timeoutMs: () => RESTORE_TIMEOUT_MS, memoryBytes },
        });
        onHibernated(request.tenant);
      } finally {
        leave();
      }
    },
    history: async ({ tenant, limit, owner, signal }) => {
      const { turn, leave } = turns.enter(owner);
      try {
        await turn(signal);
        return await readHistoryInProcess(place, { access, tenant, limit, limits, signal });
      } finally {
        leave();
      }
    },
  };
}

/** The replica of a gateway that has one. @throws OnewriterError REPLICA_UNAVAILABLE */
export function requireReplica(replica: GatewayReplica | undefined): GatewayReplica {
  if (replica !== undefined) return replica;
  throw new OnewriterError(
    'REPLICA_UNAVAILABLE',
    'This gateway knows no replica: set ONEWRITER_REPLICA_URL for it, too, with the same key and credentials as for the broker.',
  );
}
