import { type ErrorCode, groupKeys, LIMITS, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';
import type { RunningJobs } from './running-notes.ts';

/*
 * Jobs that ended their process or thread, and writes that must not run again. A crash counts for a job only if the job was in a
 * thread when the thread ended, which each thread notes before it begins (the writer's running-note.ts): not for a job that was
 * fetched and waited, and not for one of a parked tenant, however often that is tried. Of the jobs in a thread only one is to
 * blame:
 *
 *   crashes 0      never seen before                         batched as usual
 *   crashes 1      in a thread when a process ended, as      batched as usual
 *                  were those of another thread
 *   crashes max-2  … when two ended                          run apart with a few others of their tenant
 *   crashes max-1  one of those few when a process ended; or run apart, alone
 *                  no other thread was at work; or the
 *                  process grew too much
 *   crashes max    was alone when a process ended            run apart once more: that may have been a kill -9 by a person
 *   crashes max+1  was alone twice                           poisoned: its callers get POISON_JOB, it does not run
 *
 * Apart is a process of its own that runs one batch at a time (lanes/apart): its end harms no other tenant. So a job that was alone
 * at a crash never starts again beside other tenants in the same process. A job that was merely near does not get beyond "alone",
 * unless a process is killed twice just while it runs. Of a crowd that was near twice few run alone: they wait for each other.
 */

/** Errors by index of the write; -1 is the whole job. */
type Verdict = Readonly<Record<number, WireError>>;

const MAX_CRASHES = LIMITS.maxJobStarts;
/** At this count a job runs alone. */
const ALONE_CRASHES = MAX_CRASHES - 1;
/** At this count it runs with few others. */
const FEW_CRASHES = MAX_CRASHES - 2;
/** A batch of 32 becomes about as many small batches as jobs run alone if one of these ends the process. */
const FEW_JOBS = 6;
/** Fields of one command. */
const MAX_FIELDS = 1_000;

/** Crash counts and errors of jobs that did harm; in Redis, for successors. */
export class PoisonedJobs {
  readonly #link: RedisLink;
  readonly #crashCounts: string;
  readonly #poisoned: string;
  readonly #log: Logger;
  readonly #verdicts = new Map<string, Verdict>();
  /** Jobs that were counted for dead leaders and not found in a queue yet. */
  readonly #unclaimed = new Set<string>();

  constructor(link: RedisLink, group: string, log: Logger) {
    const keys = groupKeys(group);
    this.#link = link;
    this.#crashCounts = keys.starts;
    this.#poisoned = keys.poisoned;
    this.#log = log;
  }

  /** Reads the notes of predecessors. */
  async load(): Promise<void> {
    const flat = (await this.#link.retryUntilDone(() => this.#link.redis.hgetall(this.#poisoned))) as Record<
      string,
      string
    >;
    for (const [id, json] of Object.entries(flat)) this.#verdicts.set(id, JSON.parse(json) as Verdict);
    // A predecessor that died after the end of a job and before removing its note left the note.
    const counted = (await this.#link.retryUntilDone(() =>
      this.#link.call('HKEYS', this.#crashCounts),
    )) as string[];
    for (const id of counted) this.#unclaimed.add(id);
  }

  /** The writes of a job that must not run; undefined: none. */
  of(jobId: string): Verdict | undefined {
    return this.#verdicts.get(jobId);
  }

  /** Whether there is something to {@link forget}. */
  knows({ id, crashCount }: { readonly id: string; readonly crashCount: number }): boolean {
    return crashCount > 0 || this.#verdicts.has(id);
  }

  /** Forbids a write (-1: all of the job's) for good. */
  async poison(jobId: string, index: number, error: WireError): Promise<void> {
    const verdict = { ...this.#verdicts.get(jobId), [index]: error };
    this.#verdicts.set(jobId, verdict);
    await this.#link.retryUntilDone(() =>
      this.#link.call('HSET', this.#poisoned, jobId, JSON.stringify(verdict)),
    );
  }

  /** Whether nothing else may run in the process of a job with this crash count. */
  mustRunApart(crashCount: number): boolean {
    return crashCount >= FEW_CRASHES;
  }

  /** Size of a batch with a job of this crash count, at most; Infinity: unbounded. */
  maxTogether(crashCount: number): number {
    if (crashCount >= ALONE_CRASHES) return 1;
    return crashCount >= FEW_CRASHES ? FEW_JOBS : Number.POSITIVE_INFINITY;
  }

  /**
   * Counts one more crash for jobs that were in their process or thread when it ended, and poisons those that were alone.
   * @param least the lowest count they have then
   * @returns the crash count of each; 0 for a poisoned one, which can do no more harm.
   */
  async countCrash(jobIds: readonly string[], least = 0): Promise<readonly number[]> {
    const known = await this.crashCountsOf(jobIds);
    return Promise.all(
      jobIds.map(async (id, index) => {
        if (this.#verdicts.has(id)) return 0;
        const crashCount = Math.max(known[index]! + 1, least);
        if (crashCount > MAX_CRASHES) {
          this.#log.error(
            { job: id, crashes: crashCount },
            'A job ended its process each time it ran; setting it aside',
          );
          await this.poison(id, -1, poison(crashCount));
          return 0;
        }
        await this.#link.retryUntilDone(() => this.#link.call('HSET', this.#crashCounts, id, crashCount));
        return crashCount;
      }),
    );
  }

  /**
   * Counts a crash for the jobs that dead leaders had in their threads; {@link crashCountsOf} returns the counts later.
   * @param threads the jobs of each thread that was at work
   * @param apart those in a process of their own, which ended with its leader
   */
  async countLastCrashes({ threads, apart }: Pick<RunningJobs, 'threads' | 'apart'>): Promise<void> {
    const inThreads = [...new Set(threads.flat())];
    await this.countCrash(inThreads, threads.length === 1 ? ALONE_CRASHES : 0);
    await this.countCrash(apart);
    for (const id of [...inThreads, ...apart]) this.#unclaimed.add(id);
  }

  /** Makes jobs run alone from now on. */
  async suspect(jobIds: readonly string[]): Promise<void> {
    const known = await this.crashCountsOf(jobIds);
    await Promise.all(
      jobIds.map(async (id, index) => {
        if (known[index]! >= ALONE_CRASHES || this.#verdicts.has(id)) return;
        await this.#link.retryUntilDone(() => this.#link.call('HSET', this.#crashCounts, id, ALONE_CRASHES));
      }),
    );
  }

  /** Crash counts of jobs that were active; 0 for a poisoned one. */
  async crashCountsOf(jobIds: readonly string[]): Promise<readonly number[]> {
    if (jobIds.length === 0) return [];
    for (const id of jobIds) this.#unclaimed.delete(id);
    const known = (await this.#link.retryUntilDone(() =>
      this.#link.call('HMGET', this.#crashCounts, ...jobIds),
    )) as (string | null)[];
    return jobIds.map((id, index) => (this.#verdicts.has(id) ? 0 : Number(known[index] ?? 0)));
  }

  /** Forgets the counts of jobs that no queue has any more: they were finished. */
  async forgetUnclaimed(): Promise<void> {
    const ids = [...this.#unclaimed];
    this.#unclaimed.clear();
    for (let start = 0; start < ids.length; start += MAX_FIELDS) {
      await this.forget(ids.slice(start, start + MAX_FIELDS).map(id => ({ id, crashCount: 1 })));
    }
  }

  /** Forgets finished jobs. */
  async forget(jobs: readonly { readonly id: string; readonly crashCount: number }[]): Promise<void> {
    const noted = jobs.filter(job => this.knows(job)).map(({ id }) => id);
    if (noted.length === 0) return;
    for (const id of noted) this.#verdicts.delete(id);
    await Promise.all([
      this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#crashCounts, ...noted)),
      this.#link.retryUntilDone(() => this.#link.call('HDEL', this.#poisoned, ...noted)),
    ]);
  }
}

function poison(crashCount: number): WireError {
  const code: ErrorCode = 'POISON_JOB';
  return {
    code,
    message: `The process ended at each of ${crashCount} starts of this job; it was set aside and not applied.`,
    details: { starts: crashCount },
  };
}
