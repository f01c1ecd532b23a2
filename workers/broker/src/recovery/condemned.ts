import { type ErrorCode, groupKeys, LIMITS, type WireError } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { RedisLink } from '../queue/redis-link.ts';

/*
 * Jobs that ended their process or thread, and writes that must not run again. A start counts only where the job was in a
 * thread when that ended, which each thread notes before it begins (the writer's running-note.ts): not one that was taken
 * and waited, and not one of a parked tenant, however often that is tried. Of those that were in a thread only one is to
 * blame:
 *
 *   starts 0      never seen before                         batched as usual
 *   starts 1      in a thread when a process ended, as      batched as usual
 *                 were those of another thread
 *   starts max-2  … when two ended                          run with a few others of their tenant, and nothing else is in
 *                                                           a thread
 *   starts max-1  one of those few when a process ended; or run alone: nothing else is in a thread
 *                 no other thread was at work; or the
 *                 process grew too much
 *   starts max    was alone when a process ended            run alone once more: that may have been a kill -9 by hand
 *   starts max+1  was alone twice                           condemned: its callers get POISON_JOB, it does not run
 *
 * So the second start of what was alone at a death is never beside other tenants. A job that was merely near does not get
 * beyond "alone", unless the process is killed twice just while it runs. Of a crowd that was near twice few run alone: each time
 * all other tenants wait.
 */

/** Errors by index of the write; -1 is the whole job. */
type Verdict = Readonly<Record<number, WireError>>;

const MAX_STARTS = LIMITS.maxJobStarts;
/** With so many a job runs alone. */
const ALONE_STARTS = MAX_STARTS - 1;
/** With so many it runs with few others. */
const FEW_STARTS = MAX_STARTS - 2;
/** So few: of a batch of 32, as many batches as jobs that run alone if one of these ends the process. */
const FEW_JOBS = 6;
/** Fields of one command. */
const MAX_FIELDS = 1_000;

/** What is known of jobs that did harm; in Redis, so that a successor knows it. */
export class Condemned {
  readonly #link: RedisLink;
  readonly #starts: string;
  readonly #condemned: string;
  readonly #log: Logger;
  readonly #verdicts = new Map<string, Verdict>();
  /** Jobs that were counted for dead leaders and not found in a queue so far. */
  readonly #unclaimed = new Set<string>();

  constructor(link: RedisLink, group: string, log: Logger) {
    const keys = groupKeys(group);
    this.#link = link;
    this.#starts = keys.starts;
    this.#condemned = keys.condemned;
    this.#log = log;
  }

  /** Reads what predecessors noted. */
  async load(): Promise<void> {
    const flat = (await this.#link.insist(() => this.#link.redis.hgetall(this.#condemned))) as Record<
      string,
      string
    >;
    for (const [id, json] of Object.entries(flat)) this.#verdicts.set(id, JSON.parse(json) as Verdict);
    // A predecessor that died between the end of a job and its note leaves it behind.
    const counted = (await this.#link.insist(() => this.#link.call('HKEYS', this.#starts))) as string[];
    for (const id of counted) this.#unclaimed.add(id);
  }

  /** What must not run of a job; undefined: nothing. */
  of(jobId: string): Verdict | undefined {
    return this.#verdicts.get(jobId);
  }

  /** Whether there is something to {@link forget}. */
  knows({ id, starts }: { readonly id: string; readonly starts: number }): boolean {
    return starts > 0 || this.#verdicts.has(id);
  }

  /** Forbids a write (-1: all of the job's) for good. */
  async condemn(jobId: string, index: number, error: WireError): Promise<void> {
    const verdict = { ...this.#verdicts.get(jobId), [index]: error };
    this.#verdicts.set(jobId, verdict);
    await this.#link.insist(() => this.#link.call('HSET', this.#condemned, jobId, JSON.stringify(verdict)));
  }

  /** Whether nothing else may be in a thread while a job with so many starts is. */
  mustRunApart(starts: number): boolean {
    return starts >= FEW_STARTS;
  }

  /** Jobs of a batch in which one with so many starts is, at most; Infinity: any number. */
  maxTogether(starts: number): number {
    if (starts >= ALONE_STARTS) return 1;
    return starts >= FEW_STARTS ? FEW_JOBS : Number.POSITIVE_INFINITY;
  }

  /**
   * Counts one more start for jobs whose process or thread ended with them in it, and condemns those that were alone.
   * @param least what they then have at least
   * @returns the starts of each; 0 for a condemned one, which does no harm any more.
   */
  async countStarts(jobIds: readonly string[], least = 0): Promise<readonly number[]> {
    const known = await this.startsOf(jobIds);
    return Promise.all(
      jobIds.map(async (id, index) => {
        if (this.#verdicts.has(id)) return 0;
        const starts = Math.max(known[index]! + 1, least);
        if (starts > MAX_STARTS) {
          this.#log.error(
            { job: id, starts },
            'A job ended its process whenever it was started; it is set aside',
          );
          await this.condemn(id, -1, poison(starts));
          return 0;
        }
        await this.#link.insist(() => this.#link.call('HSET', this.#starts, id, starts));
        return starts;
      }),
    );
  }

  /**
   * Counts a start for the jobs that dead leaders had in their threads; {@link startsOf} gives them to who finds them.
   * @param threads the jobs of each thread that was at work
   */
  async countLastStarts(threads: readonly (readonly string[])[]): Promise<void> {
    const jobIds = [...new Set(threads.flat())];
    await this.countStarts(jobIds, threads.length === 1 ? ALONE_STARTS : 0);
    for (const id of jobIds) this.#unclaimed.add(id);
  }

  /** Has jobs run alone from their next start on. */
  async suspect(jobIds: readonly string[]): Promise<void> {
    const known = await this.startsOf(jobIds);
    await Promise.all(
      jobIds.map(async (id, index) => {
        if (known[index]! >= ALONE_STARTS || this.#verdicts.has(id)) return;
        await this.#link.insist(() => this.#link.call('HSET', this.#starts, id, ALONE_STARTS));
      }),
    );
  }

  /** Starts of jobs that were active; 0 for a condemned one. */
  async startsOf(jobIds: readonly string[]): Promise<readonly number[]> {
    if (jobIds.length === 0) return [];
    for (const id of jobIds) this.#unclaimed.delete(id);
    const known = (await this.#link.insist(() => this.#link.call('HMGET', this.#starts, ...jobIds))) as (
      | string
      | null
    )[];
    return jobIds.map((id, index) => (this.#verdicts.has(id) ? 0 : Number(known[index] ?? 0)));
  }

  /** Forgets what was counted of jobs that no queue has any more: they were finished. */
  async forgetUnclaimed(): Promise<void> {
    const ids = [...this.#unclaimed];
    this.#unclaimed.clear();
    for (let start = 0; start < ids.length; start += MAX_FIELDS) {
      await this.forget(ids.slice(start, start + MAX_FIELDS).map(id => ({ id, starts: 1 })));
    }
  }

  /** Forgets jobs that are done. */
  async forget(jobs: readonly { readonly id: string; readonly starts: number }[]): Promise<void> {
    const noted = jobs.filter(job => this.knows(job)).map(({ id }) => id);
    if (noted.length === 0) return;
    for (const id of noted) this.#verdicts.delete(id);
    await Promise.all([
      this.#link.insist(() => this.#link.call('HDEL', this.#starts, ...noted)),
      this.#link.insist(() => this.#link.call('HDEL', this.#condemned, ...noted)),
    ]);
  }
}

function poison(starts: number): WireError {
  const code: ErrorCode = 'POISON_JOB';
  return {
    code,
    message: `The process ended at each of ${starts} starts of this job; it was set aside and not applied.`,
    details: { starts },
  };
}
