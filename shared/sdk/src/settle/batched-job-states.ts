import { LIMITS } from '@onewriter/protocol';
import type { TenantHolder } from '@onewriter/tenants';
import type { JobAddress, JobState, JobStates } from './job-states.ts';

/** Jobs that are asked about in one round trip. */
const MAX_PER_ROUND = 64;

interface Question {
  readonly job: JobAddress;
  readonly resolve: (state: JobState | undefined) => void;
}

/**
 * {@link JobStates} for many who ask for one job each: one round trip is under way at a time, and what is asked meanwhile
 * goes together with the next. Between two rounds the event loop does its other work.
 */
export class BatchedJobStates implements JobStates {
  readonly #states: JobStates;
  readonly #maxWaiting: number;
  readonly #holders = new Map<string, Promise<readonly TenantHolder[]>>();
  #waiting: Question[] = [];
  #asking = false;

  /** @param maxWaiting with so many that wait, it is as if Redis did not answer */
  constructor(states: JobStates, maxWaiting: number = LIMITS.maxClientOperations) {
    this.#states = states;
    this.#maxWaiting = maxWaiting;
  }

  async look(jobs: readonly JobAddress[], notify: boolean): Promise<readonly (JobState | undefined)[]> {
    if (notify) return this.#states.look(jobs, notify);
    return Promise.all(jobs.map(job => this.#ask(job)));
  }

  answer(job: JobAddress): Promise<string | undefined> {
    return this.#states.answer(job);
  }

  async failure(job: JobAddress): Promise<string | undefined> {
    return this.#states.failure?.(job);
  }

  async replicatedAt(job: JobAddress): Promise<number | null | undefined> {
    return this.#states.replicatedAt?.(job);
  }

  async isSync(tenant: string): Promise<boolean | undefined> {
    return this.#states.isSync?.(tenant);
  }

  /** Of one tenant one question is under way at a time; who asks meanwhile gets the same answer. */
  async holders(tenants: readonly string[]): Promise<ReadonlyMap<string, readonly TenantHolder[]>> {
    const found = await Promise.all(tenants.map(tenant => this.#askHolders(tenant)));
    return new Map(tenants.map((tenant, index) => [tenant, found[index]!]));
  }

  #askHolders(tenant: string): Promise<readonly TenantHolder[]> {
    const underWay = this.#holders.get(tenant);
    if (underWay !== undefined) return underWay;
    const asking = (async () => {
      try {
        return (await this.#states.holders?.([tenant]))?.get(tenant) ?? [];
      } finally {
        this.#holders.delete(tenant);
      }
    })();
    this.#holders.set(tenant, asking);
    return asking;
  }

  #ask(job: JobAddress): Promise<JobState | undefined> | undefined {
    if (this.#waiting.length >= this.#maxWaiting) return undefined;
    return new Promise(resolve => {
      this.#waiting.push({ job, resolve });
      if (this.#asking) return;
      this.#asking = true;
      // Behind all that is asked in this turn.
      setImmediate(() => void this.#askAll());
    });
  }

  async #askAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const round = this.#waiting.splice(0, MAX_PER_ROUND);
      const states = await this.#states.look(
        round.map(({ job }) => job),
        false,
      );
      for (const [index, { resolve }] of round.entries()) resolve(states[index]);
    }
    this.#asking = false;
  }
}
