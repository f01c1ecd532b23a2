import { LIMITS, OnewriterError, tenantQueue } from '@onewriter/protocol';
import { nextTurn, turnWord } from '../leader/turn.ts';
import {
  adoptJobs,
  finishJobs,
  forgetDoubt,
  renewLocks,
  returnJobs,
  takeFollowUps,
  takeJobs,
} from './queue-scripts.ts';
import type { RedisLink } from './redis-link.ts';

/** A job as it lies in Redis. */
export interface TakenJob {
  readonly id: string;
  /** JSON of a WriteJobMessage, unparsed: the thread parses it. */
  readonly data: string;
  /** When it was added, ms by Redis' clock; undefined where its producer did not say. */
  readonly addedAt?: number | undefined;
}

/** What a take brought. */
export interface Taken {
  /** Oldest first. */
  readonly jobs: readonly TakenJob[];
  /** Jobs that still wait; 0 where the queue is paused: whoever resumes it rings, or the sweep finds it. */
  readonly waiting: number;
  /** The tenant is held: nothing was taken, and its file has to be closed. */
  readonly held?: true;
  /** Nothing was taken: the oldest job has so many bytes of data, more than there were to be. */
  readonly tooLarge?: number;
}

/** A job that is active, and whose data is in Redis. */
export interface ActiveJob extends Omit<TakenJob, 'data'> {
  /** Of its data, in UTF-8. */
  readonly bytes: number;
}

/** What an adoption brought. */
export interface Adopted {
  /** Oldest first. Any of them may be applied. */
  readonly jobs: readonly ActiveJob[];
  /** Among the jobs that wait there may be some that a leader put back, not knowing whether they are applied. */
  readonly doubt: boolean;
  /** The tenant is held: nothing was adopted. */
  readonly held?: true;
}

/** A job that is done. */
export interface FinishedJob {
  readonly id: string;
  readonly state: 'completed' | 'failed';
  /** JSON of the return value, or the reason of the failure. */
  readonly value: string;
}

/** What a finish brought. */
export interface Finished {
  /** Jobs that could not be failed, because their lock is not ours. */
  readonly refused: readonly string[];
  readonly taken: Taken;
}

/** Who takes: the owner of the locks, and the epoch it leads with now. */
export interface QueueLeader {
  readonly broker: string;
  readonly epoch: number;
}

/** How much to take at most. */
export interface TakeBounds {
  readonly maxJobs: number;
  /** Of data, also of the first job. */
  readonly maxBytes: number;
  /** Take only where no job is active: those that are come first. */
  readonly ifIdle?: boolean | undefined;
}

/** Life of a job's lock. Locks keep other tools' hands off; what keeps two brokers apart is the fence. */
export const LOCK_MS = 30_000;

/** Events that BullMQ keeps per queue, of jobs added; nobody but people reads them. BullMQ's default is 10,000. */
const MAX_QUEUE_EVENTS = 100;

/**
 * How far what is noted of the newest job's time may lie behind; the ledger covers an hour and more. Noted by the takes, but
 * not asked for by each: that is known here, and where it is not, noted once more.
 */
const NOTE_ADDED_EVERY_MS = 60_000;

/** Characters of a failed job's reason: a message of SQLite may quote a long expression. */
const MAX_REASON_LENGTH = 2_000;

const NOTHING: Taken = Object.freeze({ jobs: Object.freeze([]), waiting: 0 });
const HELD: Taken = Object.freeze({ ...NOTHING, held: true });

/**
 * A tenant's BullMQ queue, on a connection that all tenants share. Commands are executed in the order in which they
 * are called.
 */
export class TenantQueue {
  readonly #link: RedisLink;
  readonly #leader: QueueLeader;
  readonly #prefix: string;
  readonly #tenant: string;
  readonly #wait: string;
  readonly #active: string;
  readonly #meta: string;
  /** Of the last adoption or return that was sent; the epoch is that of the adoption. */
  #epoch = 0;
  #turn = 0;
  /** From which time of adding on a take notes it; ms by Redis' clock. */
  #noteFrom = 0;

  constructor(link: RedisLink, group: string, tenant: string, leader: QueueLeader) {
    const { name, prefix } = tenantQueue(group, tenant);
    this.#link = link;
    this.#tenant = tenant;
    this.#leader = leader;
    // Source: BullMQ's QueueKeys, `<prefix>:<queue>:<key>`.
    this.#prefix = `${prefix}:${name}:`;
    this.#wait = `${this.#prefix}wait`;
    this.#active = `${this.#prefix}active`;
    this.#meta = `${this.#prefix}meta`;
  }

  /** Key of the list of waiting jobs. */
  get waitKey(): string {
    return this.#wait;
  }

  get activeKey(): string {
    return this.#active;
  }

  /** Once per session: bounds the queue's own events. */
  async configure(): Promise<void> {
    await this.#link.call('HSET', this.#meta, 'opts.maxLenEvents', MAX_QUEUE_EVENTS);
  }

  /**
   * Takes the oldest waiting jobs. After an error of the connection it is not known whether any were taken:
   * {@link adopt}.
   * @param link the connection to take on.
   * @throws OnewriterError FENCED; QueueForgotten
   */
  async take({ maxJobs, maxBytes, ifIdle = false }: TakeBounds, link = this.#link): Promise<Taken> {
    const reply = await link.run(takeJobs, [
      this.#wait,
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      Date.now(),
      maxJobs,
      maxBytes,
      this.#word,
      this.#noteFrom,
      ifIdle ? 1 : 0,
    ]);
    return this.#noteTime(this.#readTaken(reply));
  }

  /**
   * Takes the jobs that go on with an open transaction, and tells how many others wait.
   * @param maxBytes of data of all of them
   * @throws as {@link take}
   */
  async takeFollowUps(maxBytes: number): Promise<Taken> {
    const reply = await this.#link.run(takeFollowUps, [
      this.#wait,
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      Date.now(),
      this.#word,
      maxBytes,
    ]);
    return this.#readTaken(reply);
  }

  /**
   * Finishes jobs, and takes the next if `bounds` are given. May be repeated.
   * @throws OnewriterError FENCED, QueueForgotten; the jobs are finished all the same.
   */
  async finish(jobs: readonly FinishedJob[], bounds: TakeBounds | undefined): Promise<Finished> {
    const args: (string | number)[] = [
      this.#wait,
      this.#active,
      this.#meta,
      `${this.#prefix}completed`,
      `${this.#prefix}failed`,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      Date.now(),
      bounds?.maxJobs ?? 0,
      bounds?.maxBytes ?? 0,
      this.#word,
      LIMITS.keepCompletedJobs,
      this.#noteFrom,
    ];
    for (const { id, state, value } of jobs) {
      args.push(id, state, state === 'failed' ? value.slice(0, MAX_REASON_LENGTH) : value);
    }
    const [refused, taken] = (await this.#link.run(finishJobs, args)) as [string[], unknown];
    return { refused, taken: this.#noteTime(this.#readTaken(taken)) };
  }

  /**
   * Makes all active jobs ours, oldest first, and the queue, too; their data is read when there is room for it. May be
   * repeated.
   * @throws OnewriterError FENCED
   */
  async adopt(): Promise<Adopted> {
    // A take may be sent behind it, before the answer.
    this.#epoch = this.#leader.epoch;
    this.#turn = nextTurn();
    this.#noteFrom = 0;
    const reply = await this.#link.run(adoptJobs, [
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      this.#word,
    ]);
    const [doubt, ...rest] = this.#assertMine(reply);
    if (doubt === -4) return { jobs: [], doubt: false, held: true };
    const jobs = readTriples(rest).map(([id, bytes, addedAt]) => ({ id, bytes: Number(bytes), addedAt }));
    return { jobs, doubt: doubt > 0 };
  }

  /** Reads the data of active jobs. @returns those that are still there, in the order of `ids` */
  async read(ids: readonly string[]): Promise<readonly TakenJob[]> {
    const replies = (await Promise.all(
      ids.map(id => this.#link.call('HMGET', this.#prefix + id, 'data', 'timestamp')),
    )) as [string | null, string | null][];
    return replies.flatMap(([data, added], index) =>
      data === null ? [] : [{ id: ids[index]!, data, addedAt: readTime(added) }],
    );
  }

  /** What is put back from now on is not meant by a {@link forgetDoubt} of before. */
  get doubtMark(): string {
    return turnWord(this.#epoch, this.#turn);
  }

  /** The ledger could be asked: see {@link Adopted}. @param mark {@link doubtMark} of then. May be repeated. */
  async forgetDoubt(mark: string): Promise<void> {
    await this.#link.run(forgetDoubt, [this.#meta, mark]);
  }

  /** Puts jobs back where they came from. @param ids oldest first. @param doubt one of them may be applied. */
  async giveBack(ids: readonly string[], doubt: boolean): Promise<void> {
    this.#turn = nextTurn();
    await this.#link.run(returnJobs, [
      this.#wait,
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      turnWord(this.#epoch, this.#turn),
      doubt ? 1 : 0,
      ...ids.toReversed(),
    ]);
  }

  /** What is taken under: after the epoch was raised it is not what is noted, and the queue has to be adopted again. */
  get #word(): string {
    return turnWord(this.#leader.epoch, this.#turn);
  }

  #noteTime(taken: Taken): Taken {
    // By the rule of the script, which notes the newest.
    const addedAt = taken.jobs.at(-1)?.addedAt ?? 0;
    if (addedAt >= this.#noteFrom) this.#noteFrom = addedAt + NOTE_ADDED_EVERY_MS;
    return taken;
  }

  #readTaken(reply: unknown): Taken {
    if ((reply as unknown[]).length === 0) return NOTHING;
    const [waiting, ...rest] = this.#assertMine(reply);
    if (waiting === -4) return HELD;
    if (waiting === -5) return { jobs: [], waiting: Number(rest[1]), tooLarge: Number(rest[0]) };
    const jobs = readTriples(rest).map(([id, data, addedAt]) => ({ id, data: String(data), addedAt }));
    return { jobs, waiting: Math.max(waiting, 0) };
  }

  /** @throws OnewriterError FENCED; QueueForgotten */
  #assertMine(reply: unknown): [number, ...(string | number)[]] {
    const [state, ...rest] = reply as [number, ...(string | number)[]];
    if (state === -2) {
      throw new OnewriterError('FENCED', 'A newer broker has taken over this queue.', {
        tenant: this.#tenant,
        fileEpoch: Number(rest[0]),
      });
    }
    if (state === -3) throw new QueueForgotten();
    return [state, ...rest];
  }

  /** Keeps the locks of jobs alive that take long. */
  async renew(ids: readonly string[]): Promise<void> {
    await this.#link.run(renewLocks, [this.#active, this.#prefix, this.#leader.broker, LOCK_MS, ...ids]);
  }
}

/** Redis lost what it knew of the queue, or the epoch was raised: {@link TenantQueue.adopt} before anything is taken. */
export class QueueForgotten extends Error {
  override readonly message = 'The queue has to be adopted first.';
}

type Triple = readonly [id: string, value: string | number, addedAt: number | undefined];

function readTriples(flat: readonly (string | number)[]): readonly Triple[] {
  const triples: Triple[] = [];
  for (let index = 0; index + 2 < flat.length; index += 3) {
    triples.push([String(flat[index]), flat[index + 1]!, readTime(String(flat[index + 2]))]);
  }
  return triples;
}

function readTime(text: string | null): number | undefined {
  const time = Number.parseInt(text ?? '', 10);
  return Number.isSafeInteger(time) ? time : undefined;
}
