import { fenced, LIMITS, SYNC_FIELD, tenantQueue } from '@onewriter/protocol';
import { nextTurn, turnWord } from '../leader/turn.ts';
import {
  FOLLOW_UPS_AMONG,
  fetchFollowUps,
  fetchJobs,
  finishJobs,
  forgetDoubt,
  reclaimJobs,
  renewLocks,
  requeueJobs,
} from './queue-scripts.ts';
import type { RedisLink } from './redis-link.ts';

/** A job as Redis stores it. */
export interface FetchedJob {
  readonly id: string;
  /** JSON of a WriteJobMessage, unparsed: the thread parses it. */
  readonly data: string;
  /** When it was added, ms by Redis' clock; undefined where its producer did not say. */
  readonly addedAt?: number | undefined;
}

/** Result of a fetch. */
export interface Fetched {
  /** Oldest first. */
  readonly jobs: readonly FetchedJob[];
  /** Jobs that still wait; 0 where the queue is paused: resuming it notifies, or the sweep finds it. */
  readonly waiting: number;
  /** The tenant is held: nothing was fetched, and its file has to be closed. */
  readonly held?: true;
  /** Nothing was fetched: the oldest job has this many bytes of data, which exceeds the bound. */
  readonly tooLarge?: number;
}

/** An active job whose data is in Redis. */
export interface ActiveJob extends Omit<FetchedJob, 'data'> {
  /** Size of its data, in UTF-8. */
  readonly bytes: number;
}

/** Result of a reclaim. */
export interface Reclaimed {
  /** Oldest first. Any of them may be applied. */
  readonly jobs: readonly ActiveJob[];
  /**
   * A leader may have requeued waiting jobs without knowing whether they are applied: when the newest of them was added, ms by
   * Redis' clock. Infinity: unknown; 0: there are none.
   */
  readonly doubtUntil: number;
  /** The tenant is held: nothing was reclaimed. */
  readonly held?: true;
}

/** A finished job. */
export interface FinishedJob {
  readonly id: string;
  readonly state: 'completed' | 'failed';
  /** JSON of the return value, or the reason of the failure. */
  readonly value: string;
}

/** Result of a finish. */
export interface Finished {
  /** Jobs that could not be failed, because their lock is not this broker's. */
  readonly refused: readonly string[];
  readonly fetched: Fetched;
}

/** The leader that fetches: it owns the locks, and leads with this epoch now. */
export interface QueueLeader {
  readonly broker: string;
  readonly epoch: number;
}

/** How much to fetch at most. */
export interface FetchBounds {
  readonly maxJobs: number;
  /** Bytes of data, including the first job's. */
  readonly maxBytes: number;
  /** Fetch only if no job is active: active jobs come first. */
  readonly ifIdle?: boolean | undefined;
}

/** Life of a job's lock. Locks stop other tools; the fence separates two brokers. */
export const LOCK_MS = 30_000;

/** Events of added jobs that BullMQ keeps per queue; only people read them. BullMQ's default is 10,000. */
const MAX_QUEUE_EVENTS = 100;

/**
 * How far the noted time of the newest job may lag behind; the ledger covers an hour and more. Fetches note it, but do not ask
 * for it each time: this object remembers it, and notes it once more if it does not know.
 */
const NOTE_ADDED_EVERY_MS = 60_000;

/** Characters of a failed job's reason: a message of SQLite may quote a long expression. */
const MAX_REASON_LENGTH = 2_000;

/** As note-doubt.part.lua has it. */
const ANY_TIME = 1;

const NOTHING: Fetched = Object.freeze({ jobs: Object.freeze([]), waiting: 0 });
const HELD: Fetched = Object.freeze({ ...NOTHING, held: true });

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
  /** Turn and epoch of the last reclaim sent, or the turn of a later requeue. */
  #epoch = 0;
  #turn = 0;
  /** A fetch notes times of adding from here on; ms by Redis' clock. */
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

  /** Once per session: bounds the queue's own events. @param isSync clients see whether they wait for the replica */
  async configure(isSync: boolean): Promise<void> {
    const sync = [SYNC_FIELD, isSync ? 1 : 0];
    await this.#link.call('HSET', this.#meta, 'opts.maxLenEvents', MAX_QUEUE_EVENTS, ...sync);
  }

  /**
   * Fetches the oldest waiting jobs. After a connection error it is unknown whether any were fetched:
   * {@link reclaim}.
   * @param link the connection to use.
   * @throws OnewriterError FENCED; QueueForgotten
   */
  async fetch({ maxJobs, maxBytes, ifIdle = false }: FetchBounds, link = this.#link): Promise<Fetched> {
    const reply = await link.run(fetchJobs, [
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
    return this.#noteTime(this.#readFetched(reply));
  }

  /**
   * Fetches the jobs that continue an open transaction, and counts the others that wait.
   * @param maxBytes of data of all of them
   * @throws as {@link fetch}
   */
  async fetchFollowUps(maxBytes: number): Promise<Fetched> {
    const reply = await this.#link.run(fetchFollowUps, [
      this.#wait,
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      Date.now(),
      this.#word,
      maxBytes,
      FOLLOW_UPS_AMONG,
    ]);
    return this.#readFetched(reply);
  }

  /**
   * Finishes jobs, and fetches the next if `bounds` are given. Repeatable.
   * @throws OnewriterError FENCED, QueueForgotten; the jobs are finished nevertheless.
   */
  async finish(jobs: readonly FinishedJob[], bounds: FetchBounds | undefined): Promise<Finished> {
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
    const [refused, fetched] = (await this.#link.run(finishJobs, args)) as [string[], unknown];
    return { refused, fetched: this.#noteTime(this.#readFetched(fetched)) };
  }

  /**
   * Makes this broker the owner of the queue and of all its active jobs, oldest first; their data is read when there is room
   * for it. Repeatable.
   * @throws OnewriterError FENCED
   */
  async reclaim(): Promise<Reclaimed> {
    // A fetch may be sent behind it, before the answer.
    this.#epoch = this.#leader.epoch;
    this.#turn = nextTurn();
    this.#noteFrom = 0;
    const reply = await this.#link.run(reclaimJobs, [
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      LOCK_MS,
      this.#word,
    ]);
    const [doubt, ...rest] = this.#assertMine(reply);
    if (doubt === -4) return { jobs: [], doubtUntil: 0, held: true };
    const jobs = readTriples(rest).map(([id, bytes, addedAt]) => ({ id, bytes: Number(bytes), addedAt }));
    return { jobs, doubtUntil: doubt === ANY_TIME ? Number.POSITIVE_INFINITY : doubt };
  }

  /** Reads the data of active jobs. @returns those that still exist, in the order of `ids` */
  async read(ids: readonly string[]): Promise<readonly FetchedJob[]> {
    const replies = (await Promise.all(
      ids.map(id => this.#link.call('HMGET', this.#prefix + id, 'data', 'timestamp')),
    )) as [string | null, string | null][];
    return replies.flatMap(([data, added], index) =>
      data === null ? [] : [{ id: ids[index]!, data, addedAt: readTime(added) }],
    );
  }

  /** Jobs requeued from now on are not covered by a {@link forgetDoubt} with this mark. */
  get doubtMark(): string {
    return turnWord(this.#epoch, this.#turn);
  }

  /** The ledger could be asked: see {@link Reclaimed}. @param mark {@link doubtMark} at that time. Repeatable. */
  async forgetDoubt(mark: string): Promise<void> {
    await this.#link.run(forgetDoubt, [this.#meta, mark]);
  }

  /** Requeues jobs. @param ids oldest first. @param doubtUntil those of them that may be applied: see {@link Reclaimed}. */
  async requeue(ids: readonly string[], doubtUntil: number): Promise<void> {
    this.#turn = nextTurn();
    await this.#link.run(requeueJobs, [
      this.#wait,
      this.#active,
      this.#meta,
      this.#prefix,
      this.#leader.broker,
      turnWord(this.#epoch, this.#turn),
      Number.isFinite(doubtUntil) ? doubtUntil : ANY_TIME,
      ...ids.toReversed(),
    ]);
  }

  /** The turn to fetch under. After the epoch was raised it is not the noted one, and the queue has to be reclaimed again. */
  get #word(): string {
    return turnWord(this.#leader.epoch, this.#turn);
  }

  #noteTime(fetched: Fetched): Fetched {
    // The same rule as the script's, which notes the newest.
    const addedAt = fetched.jobs.at(-1)?.addedAt ?? 0;
    if (addedAt >= this.#noteFrom) this.#noteFrom = addedAt + NOTE_ADDED_EVERY_MS;
    return fetched;
  }

  #readFetched(reply: unknown): Fetched {
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
    if (state === -2) throw fenced('queue', Number(rest[0]), this.#tenant);
    if (state === -3) throw new QueueForgotten();
    return [state, ...rest];
  }

  /** Keeps the locks of long-running jobs alive. */
  async renew(ids: readonly string[]): Promise<void> {
    await this.#link.run(renewLocks, [this.#active, this.#prefix, this.#leader.broker, LOCK_MS, ...ids]);
  }
}

/** Redis lost its record of the queue, or the epoch was raised: {@link TenantQueue.reclaim} before the next fetch. */
export class QueueForgotten extends Error {
  override readonly message = 'The queue has to be reclaimed first.';
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
