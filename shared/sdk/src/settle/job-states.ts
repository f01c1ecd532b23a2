import {
  answerKey,
  groupKeys,
  isDurableJobId,
  isReadJobId,
  SYNC_FIELD,
  tenantQueue,
} from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/tenants';
import type { Redis } from 'ioredis';

/** What Redis knows of a job. Never the truth about its writes: that is the ledger's. */
export type JobState =
  /** Not there: finished and cleaned up, never accepted, or lost. */
  | 'gone'
  /** Waiting or being applied. */
  | 'queued'
  /** The broker is done with it. */
  | 'finished';

/** A job by its address. */
export interface JobAddress {
  readonly tenant: string;
  readonly id: string;
}

/** Asks for the states of jobs. */
export interface JobStates {
  /**
   * One state per job; undefined where Redis does not answer.
   * @param notify whether to notify the broker of a job that is not finished: the notification, or the leader that fetched
   * the job, may be lost
   */
  look(jobs: readonly JobAddress[], notify: boolean): Promise<readonly (JobState | undefined)[]>;
  /**
   * JSON of results that no ledger has: of steps whose transaction is open, or of reads, which are handed out once. Undefined where
   * there is none.
   */
  answer(job: JobAddress): Promise<string | undefined>;
  /** Why the broker failed a job, `CODE: message`; undefined where it did not, or that is not known. */
  failure?(job: JobAddress): Promise<string | undefined>;
  /**
   * When the replica had a job that is finished or gone, ms; 0: it was waited for in vain, or that is not known any more; null: it was
   * not waited for. Undefined where Redis does not answer.
   */
  replicatedAt?(job: JobAddress): Promise<number | null | undefined>;
  /** Whether all callers of a tenant wait for the replica; undefined where Redis does not answer. */
  isSync?(tenant: string): Promise<boolean | undefined>;
  /** Who keeps tenants still; empty where that is not known. */
  holders?(tenants: readonly string[]): Promise<ReadonlyMap<string, readonly TenantHolder[]>>;
}

/** {@link JobStates} from BullMQ's job hashes: one command per job, all in one round trip. */
export class RedisJobStates implements JobStates {
  readonly #redis: Redis;
  readonly #group: string;

  constructor(redis: Redis, group: string) {
    this.#redis = redis;
    this.#group = group;
  }

  async look(jobs: readonly JobAddress[], notify: boolean): Promise<readonly (JobState | undefined)[]> {
    const pipeline = this.#redis.pipeline();
    for (const { tenant, id } of jobs) {
      const { prefix, name } = tenantQueue(this.#group, tenant);
      // Source: BullMQ's job hash; set by its scripts addStandardJob and moveToFinished.
      pipeline.hmget(`${prefix}:${name}:${id}`, 'timestamp', 'finishedOn');
    }
    let replies: readonly [Error | null, unknown][];
    try {
      replies = (await pipeline.exec()) ?? [];
    } catch {
      return jobs.map(() => undefined);
    }
    const unfinished = new Set<string>();
    const states = jobs.map(({ tenant }, index) => {
      const [error, fields] = replies[index] ?? [new Error('no reply')];
      if (error || !Array.isArray(fields)) return undefined;
      const [timestamp, finishedOn] = fields;
      if (timestamp === null) return 'gone';
      if (finishedOn !== null) return 'finished';
      unfinished.add(tenant);
      return 'queued';
    });
    if (notify && unfinished.size > 0) this.#notify(unfinished);
    return states;
  }

  async answer({ tenant, id }: JobAddress): Promise<string | undefined> {
    try {
      const key = answerKey(this.#group, tenant, id);
      if (!isReadJobId(id)) return (await this.#redis.get(key)) ?? undefined;
      const replies = await this.#redis.pipeline().get(key).unlink(key).exec();
      return (replies?.[0]?.[1] as string | null | undefined) ?? undefined;
    } catch {
      return undefined; // asked again
    }
  }

  async failure({ tenant, id }: JobAddress): Promise<string | undefined> {
    const { prefix, name } = tenantQueue(this.#group, tenant);
    try {
      return (await this.#redis.hget(`${prefix}:${name}:${id}`, 'failedReason')) ?? undefined;
    } catch {
      return undefined; // only the reason is missing
    }
  }

  async replicatedAt({ tenant, id }: JobAddress): Promise<number | null | undefined> {
    const { prefix, name } = tenantQueue(this.#group, tenant);
    try {
      const record = await this.#redis.hget(`${prefix}:${name}:${id}`, 'returnvalue');
      if (record !== null) return (JSON.parse(record) as { replicatedAt?: number }).replicatedAt ?? null;
    } catch {
      return undefined; // asked again
    }
    // Few records are kept.
    const waited = isDurableJobId(id) || (await this.isSync(tenant));
    return waited === undefined ? undefined : waited ? 0 : null;
  }

  async isSync(tenant: string): Promise<boolean | undefined> {
    const { prefix, name } = tenantQueue(this.#group, tenant);
    try {
      return (await this.#redis.hget(`${prefix}:${name}:meta`, SYNC_FIELD)) === '1';
    } catch {
      return undefined; // asked again
    }
  }

  async holders(tenants: readonly string[]): Promise<ReadonlyMap<string, readonly TenantHolder[]>> {
    try {
      const held = await readHolders(this.#redis, this.#group, tenants);
      return new Map(tenants.map((tenant, index) => [tenant, held[index]!]));
    } catch {
      return new Map(); // only the reason of a wait is missing
    }
  }

  /** A notification can be lost (Redis out of memory, or restarted): then the job waits for the sweep. */
  #notify(tenants: ReadonlySet<string>): void {
    const time = Date.now();
    const members = [...tenants].flatMap(tenant => [time, tenant]);
    // If this one is lost too, the next look notifies again.
    this.#redis.zadd(groupKeys(this.#group).notifications, 'NX', ...members).catch(() => {});
  }
}
