import { type GroupStatus, type Logger, readGroupStatus, redisRefusal } from '@onewriter/runtime';
import { type StillTenant, StillWalk, type WalkProgress } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { History, type HistoryColumns } from './history.ts';
import { judge, type Look, type Verdict } from './verdict.ts';

/** What all pages show: one look, shared by however many people look. */
export interface Moment {
  readonly look: Look;
  readonly verdict: Verdict;
  readonly paused: readonly StillTenant[];
  /** How far the search for paused tenants is. */
  readonly walk: WalkProgress;
  readonly history: HistoryColumns;
}

const EVERY_MS = 1_000;
/** Looks between two steps through all tenants, once all were looked at; before that each look makes a step. */
const WALK_EVERY = 5;

/** Looks at Redis once a second, remembers the last quarter of an hour, and notifies its listeners. */
export class StatusWatch {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #log: Logger;
  readonly #history = new History();
  readonly #walk: StillWalk;
  readonly #listeners = new Set<(moment: Moment) => void>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #looks = 0;
  #moment: Moment;

  constructor(redis: Redis, group: string, log: Logger) {
    this.#redis = redis;
    this.#group = group;
    this.#log = log;
    this.#walk = new StillWalk(redis, group);
    this.#moment = this.#toMoment({ at: Date.now(), failure: 'it was not asked yet' });
  }

  /** The newest look. */
  get moment(): Moment {
    return this.#moment;
  }

  /** Looks now and every second. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.look(), EVERY_MS);
    await this.look();
  }

  /** Looks now, unless a look is under way: then that one counts. */
  look(): Promise<void> {
    const looking =
      this.#looking ??
      this.#look().finally(() => {
        this.#looking = undefined;
      });
    this.#looking = looking;
    return looking;
  }

  /** Looks again at a tenant that was just changed, so that the next page shows it. */
  async refresh(tenant: string): Promise<void> {
    await this.#looking;
    this.#looks = 0;
    await this.#walk.step([tenant]).catch(() => {}); // the look reports that Redis is away
    await this.look();
  }

  /** @returns how to stop listening */
  listen(listener: (moment: Moment) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listeners.clear();
    await this.#looking;
  }

  async #look(): Promise<void> {
    let look: Look;
    try {
      const group = await readGroupStatus(this.#redis, this.#group);
      const isDue = this.#looks++ % WALK_EVERY === 0 || !this.#walk.progress.complete;
      if (isDue) await this.#walk.step(tenantsOfInterest(group));
      if (group.status !== undefined) this.#history.add(group.status);
      look = { at: Date.now(), group };
    } catch (error) {
      const cause = redisRefusal(this.#redis) ?? error;
      look = { at: Date.now(), failure: cause instanceof Error ? cause.message : String(cause) };
    }
    const before = this.#moment.verdict;
    this.#moment = this.#toMoment(look);
    const { tone, headline } = this.#moment.verdict;
    if (tone !== before.tone) this.#log.info({ tone }, `Overview: ${headline}`);
    for (const listener of this.#listeners) listener(this.#moment);
  }

  #toMoment(look: Look): Moment {
    const paused = this.#walk.tenants;
    const now = look.group?.readAt ?? look.at;
    const walk = this.#walk.progress;
    return { look, paused, walk, verdict: judge(look, paused), history: this.#history.columns(now) };
  }
}

/** Tenants that stand out: a forgotten pause would show there first. */
function tenantsOfInterest({ status }: GroupStatus): string[] {
  if (status === undefined) return [];
  const { busiest, slowest, delayed, deepest } = status.tenants;
  return [...busiest, ...slowest, ...delayed, ...deepest].map(({ tenant }) => tenant);
}
