import { OnewriterError, PROTOCOL_VERSION } from '@onewriter/protocol';
import { JobMemory, SHARE_BYTES } from '../src/lanes/job-memory.ts';
import type {
  FetchBounds,
  Fetched,
  FetchedJob,
  Finished,
  FinishedJob,
  Reclaimed,
  TenantQueue,
} from '../src/queue/tenant-queue.ts';
import { NoReplica } from '../src/replica/no-replica.ts';
import { ReplicaAnswers } from '../src/replica/replica-answers.ts';
import { ReadShare } from '../src/tenant/read-share.ts';
import { Refusals } from '../src/tenant/session/batch-retry.ts';
import { toFetchedJobs } from '../src/tenant/session/held-job.ts';
import { HeldJobs } from '../src/tenant/session/held-jobs.ts';
import type { SessionParts, SessionServices } from '../src/tenant/session/session-parts.ts';

/*
 * A model of Redis for tests of one tenant's session, in which every answer takes a random time and any may be lost, before or
 * after the command was executed. Time is fake and the order comes from a seed, so each run can be repeated.
 */

export const delay = (ms: number) => new Promise<void>(resolve => void setTimeout(resolve, ms));

/** What `vi.useFakeTimers` replaces in these tests: the timers, and the monotonic clock. */
export const FAKE_TIME = { toFake: ['setTimeout' as const, 'clearTimeout' as const, 'performance' as const] };

/** The wait at the doorbell; commands sent behind it are executed when it ends. */
export class ModelDoorbell {
  #notified = false;
  #wake: (() => void) | undefined;
  #behind: (() => void)[] = [];

  ring(): void {
    this.#notified = true;
    this.#wake?.();
  }

  /** Resolves with true at a notification, or with false after a while. */
  async wait(): Promise<boolean> {
    if (!this.#notified) {
      await Promise.race([delay(3_000), new Promise<void>(resolve => (this.#wake = resolve))]);
    }
    const notified = this.#notified;
    this.#notified = false;
    this.#wake = undefined;
    for (const execute of this.#behind.splice(0)) execute();
    return notified;
  }

  behind(execute: () => void): void {
    this.#behind.push(execute);
  }
}

/** A tenant's lists in Redis; index 0 is the oldest. */
export class ModelQueue {
  wait: FetchedJob[] = [];
  active: FetchedJob[] = [];
  finished: string[] = [];
  failed: string[] = [];
  doubtUntil = 0;
  /** Its broker is gone: its commands no longer arrive here. */
  dead = false;
  /** How often a fetch is answered that a newer leader had the queue. */
  fenceRate = 0;
  readonly #random: () => number;
  readonly #lossRate: number;
  /** Commands on one connection are executed in the order they were sent. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(random: () => number, lossRate: number) {
    this.#random = random;
    this.#lossRate = lossRate;
  }

  async #execute<Result>(command: () => Result): Promise<Result> {
    const turn = this.#last.then(async () => {
      await delay(this.#random() * 3);
      const fate = this.#random();
      if (this.dead) await new Promise<never>(() => {});
      if (fate < this.#lossRate / 2) throw new Error('connection lost before');
      const result = command();
      if (fate < this.#lossRate) throw new Error('connection lost after');
      return result;
    });
    this.#last = turn.catch(() => {});
    const result = await turn;
    await delay(this.#random() * 2);
    return result;
  }

  fetch(bounds: FetchBounds, doorbell?: ModelDoorbell | undefined): Promise<Fetched> {
    return doorbell === undefined
      ? this.#execute(() => this.#fetchNow(bounds))
      : this.#fetchBehind(doorbell, bounds);
  }

  async #fetchBehind(doorbell: ModelDoorbell, bounds: FetchBounds): Promise<Fetched> {
    const fetched = await new Promise<Fetched>((resolve, reject) => {
      doorbell.behind(() => {
        if (this.dead) return;
        const fate = this.#random();
        if (fate < this.#lossRate / 2) reject(new Error('connection lost before'));
        let answer: Fetched;
        try {
          answer = this.#fetchNow(bounds);
        } catch (error) {
          reject(error);
          return;
        }
        if (fate < this.#lossRate) reject(new Error('connection lost after'));
        resolve(answer);
      });
    });
    await delay(this.#random() * 2);
    return fetched;
  }

  #fetchNow({ maxJobs, maxBytes, ifIdle = false }: FetchBounds): Fetched {
    if (this.#random() < this.fenceRate) throw new OnewriterError('FENCED', 'A newer broker has the queue.');
    if (ifIdle && this.active.length > 0) return { jobs: [], waiting: this.wait.length };
    const first = this.wait[0];
    if (first !== undefined && first.data.length > maxBytes) {
      return { jobs: [], waiting: this.wait.length, tooLarge: first.data.length };
    }
    const jobs: FetchedJob[] = [];
    for (let left = maxBytes; jobs.length < maxJobs; ) {
      left -= this.wait[0]?.data.length ?? Number.POSITIVE_INFINITY;
      if (left < 0) break;
      jobs.push(this.wait.shift()!);
    }
    this.active.push(...jobs);
    return { jobs, waiting: this.wait.length };
  }

  fetchFollowUps(): Promise<Fetched> {
    return this.#execute(() => {
      const jobs = this.wait.filter(job => job.id.startsWith('s-'));
      this.wait = this.wait.filter(job => !job.id.startsWith('s-'));
      this.active.push(...jobs);
      return { jobs, waiting: this.wait.length };
    });
  }

  finish(jobs: readonly FinishedJob[], bounds: FetchBounds | undefined): Promise<Finished> {
    return this.#execute(() => {
      for (const { id, state } of jobs) {
        const index = this.active.findIndex(job => job.id === id);
        if (index < 0) continue;
        this.active.splice(index, 1);
        (state === 'failed' ? this.failed : this.finished).push(id);
      }
      return {
        refused: [],
        fetched: bounds === undefined ? { jobs: [], waiting: 0 } : this.#fetchNow(bounds),
      };
    });
  }

  reclaim(): Promise<Reclaimed> {
    return this.#execute(() => ({
      jobs: this.active.map(({ id, data, addedAt }) => ({ id, bytes: data.length, addedAt })),
      doubtUntil: this.doubtUntil,
    }));
  }

  read(ids: readonly string[]): Promise<readonly FetchedJob[]> {
    return this.#execute(() => this.active.filter(({ id }) => ids.includes(id)));
  }

  forgetDoubt(): Promise<void> {
    return this.#execute(() => {
      this.doubtUntil = 0;
    });
  }

  requeue(ids: readonly string[], doubtUntil: number): Promise<void> {
    return this.#execute(() => {
      this.doubtUntil = Math.max(this.doubtUntil, doubtUntil);
      // As the script: a job that is no longer active stays where it is.
      const returned = ids.flatMap(id => this.active.find(job => job.id === id) ?? []);
      this.active = this.active.filter(job => !ids.includes(job.id));
      this.wait.unshift(...returned);
    });
  }
}

/** What all sessions share, for one tenant: answers late, and reports internal errors in `bugs`. */
export function createModelServices(random: () => number, bugs: unknown[]) {
  const crashCounts = new Map<string, number>();
  const quiet = () => {};
  return {
    link: {
      expedite: quiet,
      async retryUntilDone<Result>(attempt: () => Promise<Result>): Promise<Result> {
        for (;;) {
          try {
            return await attempt();
          } catch (error) {
            if (error instanceof OnewriterError) throw error;
            await delay(random() * 20);
          }
        }
      },
    },
    readShare: new ReadShare(),
    waker: {
      status: { waking: 0, failing: 0, failed: [] },
      wake: async (_tenant: string): Promise<unknown> => undefined,
      stop: async () => {},
      close: async () => {},
    },
    deadLetters: { add: async () => {} },
    poisoned: {
      of: () => undefined,
      mustRunApart: (count: number) => count >= 1,
      maxTogether: (count: number) => [Number.POSITIVE_INFINITY, 3][count] ?? 1,
      crashCountsOf: async (ids: readonly string[]) => {
        await delay(random() * 5);
        return ids.map(id => crashCounts.get(id) ?? 0);
      },
      countCrash: async (ids: readonly string[]) => {
        await delay(random() * 20);
        return ids.map(id => {
          const count = Math.min((crashCounts.get(id) ?? 0) + 1, 2);
          crashCounts.set(id, count);
          return count;
        });
      },
      knows: ({ crashCount: count }: { crashCount: number }) => count > 0,
      forget: async () => {},
    },
    parked: {
      park: (_tenant: string): unknown => undefined,
      release: (_tenant: string): unknown => undefined,
    },
    offenders: { leftMs: () => 0, runsApart: () => false, notePoison: async () => false },
    metrics: {
      applied: () => ({ writes: 0, failures: 0 }),
      observe: quiet,
      fetched: quiet,
      refused: quiet,
      setAside: quiet,
      transactionTakenAway: quiet,
      delay: { observe: quiet },
    },
    loads: { list: quiet },
    memory: new JobMemory(4 * SHARE_BYTES),
    observers: [],
    log: { warn: quiet, error: quiet, info: quiet },
    walWatch: { observe: quiet },
    replica: new ReplicaAnswers(new NoReplica(), () => 1),
    epoch: () => 1,
    afterCommit: quiet,
    // Redis is asked for a higher epoch.
    onFenced: () => delay(random() * 40),
    onHeld: quiet,
    finishSoon: quiet,
    onBug: (error: unknown): void => void bugs.push(error),
  };
}

/** The parts of a session without a session, for tests of one part. */
export class ModelParts implements SessionParts {
  readonly tenant = 'acme';
  readonly held = new HeldJobs();
  readonly facts = { isStale: false, mayHaveMore: false, doubtUntil: 0, waiting: 0 };
  readonly refusals = new Refusals(
    () => false,
    () => {},
  );
  readonly model: ModelQueue;
  readonly queue: TenantQueue;
  readonly services: SessionServices;
  /** Answers by job: `committed`, or the code of an error. */
  readonly answers = new Map<string, string>();
  /** Clients that ended. */
  readonly gone = new Set<string>();
  readonly bugs: unknown[] = [];

  constructor(random: () => number = () => 0.5) {
    this.model = new ModelQueue(random, 0);
    this.queue = this.model as unknown as TenantQueue;
    this.services = {
      ...createModelServices(random, this.bugs),
      inbox: {
        publish: async (settlements: readonly { jobId: string; error?: { code: string } | undefined }[]) => {
          await Promise.resolve();
          for (const { jobId, error } of settlements) this.answers.set(jobId, error?.code ?? 'committed');
          return true;
        },
      },
      presence: { isHere: async (client: string) => !this.gone.has(client) },
      transactionLimits: { timeoutMs: 5_000, idleMs: 5_000, maxMs: 60_000 },
    } as unknown as SessionServices;
  }

  isDraining = (): boolean => false;
  pump = (): void => {};
  proceed = (): void => {};
  decide = <Result>(decision: () => Promise<Result>): Promise<Result> => decision();

  /** Has jobs with these ids, as if they had just been fetched. */
  hold(...ids: readonly string[]): void {
    this.holdJobs(ids.map(id => ({ id, data: createData('c-1') })));
  }

  /** The same with data of their own. @param doubtUntil see Reclaimed */
  holdJobs(jobs: readonly FetchedJob[], doubtUntil = 0): void {
    this.model.active.push(...jobs);
    const grant = this.services.memory.requestNow(SHARE_BYTES, SHARE_BYTES);
    if (grant === undefined) throw new Error('No memory for the jobs of a test.');
    const fetched = toFetchedJobs(jobs, grant, doubtUntil);
    grant.shrinkTo(fetched.cost);
    this.held.add(fetched.jobs.map(job => ({ ...job, enqueuedAt: undefined, fetchedAt: 0 })));
  }
}

/** Data of a job, of steps whose client has to be there. */
export function createData(client: string, op = '{"s":0}'): string {
  return `{"v":${PROTOCOL_VERSION},"client":"${client}","seq":1,"at":0,"live":1,"sql":["x"],"ops":[${op}]}`;
}
