import { setTimeout as pause } from 'node:timers/promises';
import { askRedis, groupKeys, OnewriterError, releaseNotification, uuidv7 } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

import { ADD_HOLD, RELEASE_FILE, REMOVE_HOLD, RENEW_HOLD } from './hold-scripts.ts';
import {
  describeHolder,
  type HolderName,
  type HoldPhase,
  type HoldRecord,
  holdKeys,
  toHolder,
} from './tenant-holder.ts';

/*
 * The leading broker has tenants' files open. Before a file can be moved, the broker has to close it and leave it closed:
 *
 *   gateway, command line                            broker
 *   add the hold ▸ ask for the release    ──────▶    finishes what was begun, closes the file,
 *                                                    sets onewriter.released
 *   … works on the file, renews the hold …  ◀──────  fetches nothing, even if notified; any leader
 *   remove the hold ▸ notify              ──────▶    resumes if it was the last hold
 */

const TIMEOUT_MS = 15_000;
const POLL_MS = 25;
const NOTIFY_EVERY_MS = 1_000;
const RETRY_AFTER_MS = 1_000;
/** A hold of a process that died ends after this. Long enough for Redis to be restarted meanwhile. */
const LIFE_MS = 30_000;
/** The hold must last at least this much longer when a file is changed: longer than the change takes. */
const MIN_LEFT_MS = 10_000;

/** Settings of {@link withHeldTenant}. */
export interface HoldRequest {
  readonly name: HolderName;
  readonly who: string;
  /** For people. */
  readonly reason: string;
  /** It changes the file: of two such the second is refused. Others share the tenant. */
  readonly exclusive: boolean;
  /** Whether the broker has to close the file first; not for what only keeps others away. Default: true. */
  readonly closesFile?: boolean | undefined;
  /** Whether the tenant is paused where the process dies after {@link HeldTenant.beginChange}. Default: false. */
  readonly pauseIfLost?: boolean | undefined;
  /** Whether a broker has to lead, or else nothing is done. Default: false. */
  readonly needsLeader?: boolean | undefined;
  /** How long the broker may take to close the file. Default: 15,000. */
  readonly timeoutMs?: number | undefined;
}

/** A tenant whose file no broker has open. */
export interface HeldTenant {
  /** Jobs that wait in its queue. @throws Error of Redis */
  countJobs(): Promise<number>;
  /**
   * To be called right before files are changed: this process may have been stopped for longer than the hold lasts.
   * @throws OnewriterError TENANT_UNAVAILABLE
   */
  assertHeld(): Promise<void>;
  /**
   * As {@link assertHeld}, and notes that files change from now on: until then a process that dies leaves nothing behind that
   * a person has to look at.
   * @throws OnewriterError TENANT_UNAVAILABLE; Error of Redis. Nothing may be changed then.
   */
  beginChange(): Promise<void>;
}

/**
 * Has the leader close a tenant's file and runs `work` on it. No broker opens it until `work` has ended and all other
 * holds have; a pause that a person made before or meanwhile stays.
 *
 * @throws OnewriterError TENANT_UNAVAILABLE (held by another file operation, or not closed in time), QUEUE_UNAVAILABLE
 * (nothing was begun), BROKER_UNAVAILABLE (with `needsLeader`), and whatever `work` throws
 */
export async function withHeldTenant<T>(
  redis: Redis,
  group: string,
  tenant: string,
  request: HoldRequest,
  work: (held: HeldTenant) => Promise<T>,
): Promise<T> {
  if (!(await askRedis(() => isLed(redis, group))) && request.needsLeader) {
    throw new OnewriterError('BROKER_UNAVAILABLE', 'No broker leads, so the file cannot be closed.', {
      tenant,
      retryAfterMs: RETRY_AFTER_MS,
    });
  }
  const hold = new Hold(redis, group, tenant);
  await hold.add(request);
  let result: T;
  try {
    if (request.closesFile !== false) {
      await hold.untilReleased(request.timeoutMs ?? TIMEOUT_MS, request.needsLeader === true);
    }
    result = await work(hold);
  } catch (error) {
    // It ends later where Redis does not answer: what failed first is what the caller has to know.
    await hold.end().catch(() => {});
    throw error;
  }
  await hold.end();
  return result;
}

async function isLed(redis: Redis, group: string): Promise<boolean> {
  return (await redis.exists(groupKeys(group).lease)) === 1;
}

/** One hold of this process. */
class Hold implements HeldTenant {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #tenant: string;
  readonly #id = uuidv7();
  readonly #keys: ReturnType<typeof holdKeys>;
  /** On the monotonic clock, ms. */
  #endsAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(redis: Redis, group: string, tenant: string) {
    this.#redis = redis;
    this.#group = group;
    this.#tenant = tenant;
    this.#keys = holdKeys(group, tenant);
  }

  /** @throws OnewriterError TENANT_UNAVAILABLE; Error of Redis, and then no hold is left where Redis answers */
  async add({ name, who, reason, exclusive, pauseIfLost = false }: HoldRequest): Promise<void> {
    const { holds, meta } = this.#keys;
    const sentAt = performance.now();
    const phase: HoldPhase = 'preparing';
    const json = JSON.stringify({ name, who, reason, exclusive, pauseIfLost, phase });
    let other: string;
    try {
      other = (await this.#redis.eval(ADD_HOLD, 2, holds, meta, this.#id, LIFE_MS, json)) as string;
    } catch (error) {
      // Redis may have the hold although its answer did not come. Sent later on the same connection, this removes it.
      await this.end().catch(() => {});
      throw error;
    }
    if (other !== '') {
      const holder = toHolder(JSON.parse(other) as HoldRecord);
      throw new OnewriterError(
        'TENANT_UNAVAILABLE',
        `Another operation works on the file of tenant ${this.#tenant}: ${describeHolder(holder)}; try again.`,
        { tenant: this.#tenant, reason: 'the tenant is held', holder, retryAfterMs: RETRY_AFTER_MS },
      );
    }
    this.#endsAt = sentAt + LIFE_MS;
    // One that fails is tried again; what it means is asked before files are changed.
    this.#timer = setInterval(() => this.#renew().catch(() => {}), LIFE_MS / 6);
    this.#timer.unref();
  }

  countJobs(): Promise<number> {
    return this.#redis.llen(this.#keys.wait);
  }

  /** @throws OnewriterError TENANT_UNAVAILABLE */
  async untilReleased(timeoutMs: number, needsLeader: boolean): Promise<void> {
    const { notifications } = groupKeys(this.#group);
    const { meta } = this.#keys;
    const deadline = performance.now() + timeoutMs;
    let notifiedAt = Number.NEGATIVE_INFINITY;
    while (performance.now() < deadline) {
      if (performance.now() - notifiedAt >= NOTIFY_EVERY_MS) {
        await this.#redis.zadd(notifications, 'NX', Date.now(), releaseNotification(this.#tenant));
        notifiedAt = performance.now();
      }
      if (!needsLeader) await this.#releaseUnled();
      if ((await this.#redis.hexists(meta, 'onewriter.released')) === 1) return;
      await pause(POLL_MS);
    }
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      'The broker did not let go of the file in time; try again.',
      {
        tenant: this.#tenant,
        reason: 'the file is in use',
        retryAfterMs: RETRY_AFTER_MS,
      },
    );
  }

  /**
   * Where no broker leads, none has the file open. One that becomes leader meanwhile may have opened it before it could
   * see this hold: then the release is withdrawn, and that broker is asked.
   */
  async #releaseUnled(): Promise<void> {
    if (await isLed(this.#redis, this.#group)) return;
    const { prefix, wait, active, meta, holds } = this.#keys;
    const epoch = Number((await this.#redis.get(groupKeys(this.#group).epoch)) ?? 0);
    await this.#redis.eval(RELEASE_FILE, 4, wait, active, meta, holds, prefix, epoch);
    if (await isLed(this.#redis, this.#group))
      await this.#redis.hdel(meta, 'onewriter.released', 'onewriter.unled');
  }

  async assertHeld(): Promise<void> {
    if (!(await this.#renew())) throw this.#lost();
    this.#assertFresh();
  }

  async beginChange(): Promise<void> {
    if (!(await this.#renew('changing'))) throw this.#lost();
    this.#assertFresh();
  }

  /** As {@link assertHeld}, by the time that has passed since the hold was last renewed. */
  #assertFresh(): void {
    if (this.#endsAt - performance.now() < MIN_LEFT_MS) throw this.#lost();
  }

  /** Idempotent. @throws Error of Redis */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    const { holds, meta } = this.#keys;
    await this.#redis.eval(REMOVE_HOLD, 2, holds, meta, this.#id);
    // Unlike a notification for the tenant, this does not register a deleted tenant again.
    await this.#redis.zadd(
      groupKeys(this.#group).notifications,
      'NX',
      Date.now(),
      releaseNotification(this.#tenant),
    );
  }

  /** @returns false where it is lost. */
  async #renew(phase: HoldPhase | '' = ''): Promise<boolean> {
    const { holds, meta } = this.#keys;
    const sentAt = performance.now();
    if ((await this.#redis.eval(RENEW_HOLD, 2, holds, meta, this.#id, LIFE_MS, phase)) === 0) {
      this.#endsAt = Number.NEGATIVE_INFINITY;
      return false;
    }
    this.#endsAt = Math.max(this.#endsAt, sentAt + LIFE_MS);
    return true;
  }

  #lost(): OnewriterError {
    return new OnewriterError(
      'TENANT_UNAVAILABLE',
      `This process was stopped, or cut off from Redis, for longer than its hold on tenant ${this.#tenant} lasts; nothing was changed. Try again.`,
      { tenant: this.#tenant, reason: 'the hold was lost', retryAfterMs: RETRY_AFTER_MS },
    );
  }
}
