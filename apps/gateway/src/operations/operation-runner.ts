import { stat } from 'node:fs/promises';
import {
  type DataPlace,
  defaultJobs,
  fileSize,
  jobLimits,
  type ProcessOptions,
  timeoutForBytes,
  type Verification,
} from '@onewriter/files';
import {
  firstFitting,
  type NewOperation,
  newOperationId,
  type OperationContext,
  OperationStore,
  runOperation,
  type Summary,
} from '@onewriter/operations';
import {
  BYTES_UNIT,
  runBackups,
  runChecks,
  runRestore,
  STEPS_UNIT,
  summarizeBackups,
  summarizeChecks,
  summarizeRestore,
  TENANTS_UNIT,
} from '@onewriter/operations/files';
import { askRedis, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import { branchTenant, type Point, type ReplicaAccess, restorePoint } from '@onewriter/replicator';
import type { Logger } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import type { Owner } from '../security/shares.ts';
import { Turns } from '../security/turns.ts';

/** Work that a request starts. */
export type OperationRequest =
  | {
      readonly kind: 'backup' | 'check';
      /** Null: all. */
      readonly tenants: readonly string[] | null;
      readonly verification: Verification;
    }
  | {
      readonly kind: 'restore';
      readonly tenant: string;
      /** Path of the backup. */
      readonly backup: string;
      readonly replace: boolean;
      readonly leavePaused: boolean;
    }
  | {
      readonly kind: 'restorePoint';
      /** A branch has a name of its own. */
      readonly by: 'copy' | 'branch';
      readonly access: ReplicaAccess;
      readonly from: string;
      /** The new tenant that it becomes; undefined: it takes the place of the tenant's file. */
      readonly as: string | undefined;
      readonly point: Point;
      /** As it was asked for. */
      readonly at: string;
    };

/** Carries out operations that requests start. */
export interface OperationRunner {
  /**
   * Starts one; it continues when the request has ended.
   * @returns its id, when its record is in Redis
   * @throws OnewriterError RATE_LIMITED, QUEUE_UNAVAILABLE; nothing was begun then
   */
  start(request: OperationRequest, who: string, owner: Owner): Promise<string>;
  /** Stops what runs; what changes a file now is finished. Resolves when nothing runs. */
  close(): Promise<void>;
}

/** Settings of {@link createOperationRunner}. */
export interface OperationRunnerOptions {
  readonly redis: Redis;
  readonly redisUrl: string;
  readonly place: DataPlace;
  /** Folder of all backups. */
  readonly backups: string;
  /** Limit of each process. */
  readonly memoryBytes: number;
  /** Names of all tenants that have a file. */
  readonly tenants: () => Promise<readonly string[]>;
  /** A file was put in a tenant's place. */
  readonly onRestored: (tenant: string) => void;
  readonly log: Logger;
}

/** Operations that run or wait, of a gateway. */
const MAX_OPERATIONS = 16;
/** A token for all tenants has two of them. Each runs as many processes as `onewriter backup` would, at a lower priority. */
const MAX_RUNNING = 3;
/** Of a tenant in the replica, whose size is not known. */
const ASSUMED_BYTES = 1024 * 1024 * 1024;

/** An {@link OperationRunner} of this gateway. */
export function createOperationRunner(options: OperationRunnerOptions): OperationRunner {
  const { redis, place, log } = options;
  const turns = new Turns({
    what: 'operations',
    callers: MAX_OPERATIONS,
    turns: MAX_RUNNING,
    turnsOfOwner: 1,
  });
  const store = new OperationStore(redis, place.group);
  const closing = new AbortController();
  const running = new Set<Promise<void>>();

  async function carryOut(
    id: string,
    request: OperationRequest,
    who: string,
    turn: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const kind = kindOf(request, who, options);
    try {
      await runOperation(
        describe(request, who),
        {
          id,
          open: async () => store,
          queued: true,
          signal: closing.signal,
          summarize: ({ summary }: Outcome) => summary,
          onUnlisted: error =>
            log.warn({ operation: id, err: error }, 'The end of an operation is not recorded'),
        },
        async context => {
          await turn(context.signal);
          context.begin();
          return { summary: await kind(context) };
        },
      );
      log.info({ operation: id, kind: request.kind }, 'Operation ended');
    } catch (error) {
      const facts = { operation: id, kind: request.kind };
      if (isOnewriterError(error))
        log.info({ ...facts, code: error.code }, `Operation ended: ${error.message}`);
      else log.error({ ...facts, err: error }, 'Operation failed');
    }
  }

  return {
    async start(request, who, owner) {
      const waiting = turns.enter(owner);
      const id = newOperationId();
      try {
        closing.signal.throwIfAborted();
        await askRedis(() => store.add(id, describe(request, who), 'queued'));
      } catch (error) {
        waiting.leave();
        throw error;
      }
      const work = carryOut(id, request, who, waiting.turn).finally(() => {
        waiting.leave();
        running.delete(work);
      });
      running.add(work);
      return id;
    },
    async close() {
      closing.abort(new OnewriterError('ABORTED', 'The gateway that carried it out was stopped.'));
      await Promise.all(running);
    },
  };
}

interface Outcome {
  readonly summary: Summary;
}

function describe(request: OperationRequest, who: string): NewOperation {
  switch (request.kind) {
    case 'restore': {
      const { kind, tenant, backup } = request;
      return { kind, who, tenants: [tenant], detail: backup, unit: STEPS_UNIT };
    }
    case 'restorePoint': {
      const { from, as = from, at } = request;
      const detail = `from the replica, ${at} of ${from}`;
      return { kind: 'restore', who, tenants: [as], detail, unit: BYTES_UNIT };
    }
    default: {
      const { kind, tenants, verification } = request;
      return { kind, who, tenants, detail: verification, unit: TENANTS_UNIT };
    }
  }
}

/** What an operation does when its turn comes. */
function kindOf(
  request: OperationRequest,
  who: string,
  { redis, redisUrl, place, backups, memoryBytes, tenants, onRestored }: OperationRunnerOptions,
): (context: OperationContext) => Promise<Summary> {
  if (request.kind === 'restore') {
    const { tenant, backup, replace, leavePaused } = request;
    return async context => {
      const { size } = await stat(backup);
      const limits = { timeoutMs: () => timeoutForBytes(size), memoryBytes };
      const report = await runRestore(context, place, {
        ...{ backup, tenant, replace, leavePaused },
        ...{ redis, who, limits },
      });
      onRestored(tenant);
      return summarizeRestore(report);
    };
  }
  if (request.kind === 'restorePoint') {
    const { access, from, as, point, by } = request;
    const limits = { timeoutMs: () => timeoutForBytes(ASSUMED_BYTES), memoryBytes };
    return async context => {
      const shared = {
        ...{ access, tenant: from, point, redis, who, limits, signal: context.signal },
        onProgress: (bytes: number) => context.progress(bytes),
      };
      const report =
        by === 'branch' && as !== undefined
          ? await branchTenant(place, { ...shared, as, isOwnStore: true })
          : await restorePoint(place, { ...shared, as, replace: as === undefined });
      for (const warning of report.warnings) context.log(`warning: ${warning}`);
      onRestored(report.tenant);
      return { result: { ...report, warnings: firstFitting(report.warnings) } };
    };
  }
  const { verification } = request;
  const processes: ProcessOptions = {
    jobs: defaultJobs(),
    limits: jobLimits(place, memoryBytes),
    bytesOf: tenant => fileSize(place, tenant),
    redisUrl: request.kind === 'check' ? redisUrl : undefined,
  };
  return async context => {
    const work = { place, tenants: request.tenants ?? (await tenants()), processes };
    return request.kind === 'backup'
      ? summarizeBackups(await runBackups(context, { kind: 'backup', out: backups, verification }, work))
      : summarizeChecks(await runChecks(context, { kind: 'check', verification }, work));
  };
}
