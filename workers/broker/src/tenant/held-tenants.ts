import { fenced, type OnewriterError } from '@onewriter/protocol';
import { appendAudit, type Logger } from '@onewriter/runtime';
import {
  assertLifeCycle,
  closedStateOf,
  describeHolder,
  type HolderName,
  type HoldRecord,
  holdKeys,
  pausesWhenLost,
  RELEASE_FILE,
  type TenantState,
  toHolder,
} from '@onewriter/tenants';
import { nextTurn, turnWord } from '../leader/turn.ts';
import { defineScript, type RedisLink } from '../queue/redis-link.ts';

/*
 * Held tenants: a program works on their file, so this broker keeps it closed and fetches nothing (ADR 0025).
 *
 *                 a fetch or a release notification says so          file closed, Redis knows it
 *   active ───────────────────────────────────────────▶ releasing ─────────────────────▶ paused │ restoring │ deleting │ new
 *      ▲                                                    ▲ │                             │
 *      └──────────────── no hold is left ───────────────────┼─┘                             │
 *                                                           └──── any notification ◀────────┘
 *
 * Each change is asserted (`LIFE_CYCLE` in shared/tenants). A tenant that is created has the state new until its hold ends.
 *
 * The end of a hold sends a notification. The death of the holder's process does not: the holds are looked at again when the
 * next one expires.
 *
 * A hold may begin and end while this leader stands still: the holder finds no lease. Then the session's file is closed all the
 * same, before the next job begins.
 *
 * Notifications of a held tenant come here, so that no session is made during a release. They cause a new look at the holds:
 * the last may have ended, or expired.
 */

/** Dependencies of {@link HeldTenants}. */
export interface HeldTenantsOptions {
  readonly link: RedisLink;
  readonly group: string;
  readonly log: Logger;
  readonly epoch: () => number;
  /**
   * Finishes what was begun, requeues the rest, closes the file and forgets the session.
   * @param isForPerson a person asked for one of the holds, and handles whatever happened to the file
   * @param holders names of the holds
   */
  readonly close: (tenant: string, isForPerson: boolean, holders: readonly string[]) => Promise<void>;
  /** No hold is left. */
  readonly onEnded: (tenant: string) => void;
  /** Called after it, if jobs may wait. */
  readonly onFree: (tenant: string) => void;
  /** Resolves where this process still leads, under a higher epoch; else it ends. */
  readonly onFenced: (tenant: string, error: OnewriterError) => Promise<void>;
  readonly onBug: (error: unknown) => void;
}

interface Held {
  /** Its session fetches nothing more: it is closed also where no hold is left by then, or no job would be fetched again. */
  gaveWay: boolean;
  /** `active` only before the first look and after the last. */
  state: TenantState;
  /** A release notification arrived since the holds were last looked at. */
  notified: boolean;
  /** The tenant's own notification arrived, so jobs wait. */
  hasWork: boolean;
  /** Ends when the next hold expires. */
  timer: NodeJS.Timeout | undefined;
}

/** Without holds of an application's request or of the broker: a write may arrive while a hold creates a tenant. */
const FOR_PERSON: ReadonlySet<string> = new Set<HolderName>([
  ...(['pause', 'delete', 'restore', 'adopt', 'release'] as const),
]);

interface Look {
  readonly isHeld: boolean;
  /** Names of the holders. */
  readonly holders: readonly string[];
  /** Jobs that wait or are active. */
  readonly jobs: number;
  /** Where it is held: time until the next hold expires, unless it is renewed. */
  readonly nextEndMs: number;
}

/** Added so that the hold has expired by Redis' clock, too. */
const AFTER_END_MS = 50;
/** The longest delay of Node's timers. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const releaseFile = defineScript(4, RELEASE_FILE);

/** The held tenants of a leader. */
export class HeldTenants {
  readonly #options: HeldTenantsOptions;
  readonly #tenants = new Map<string, Held>();

  constructor(options: HeldTenantsOptions) {
    this.#options = options;
  }

  /** Held tenants, as far as this leader knows. */
  get size(): number {
    return this.#tenants.size;
  }

  /** The state that its holders give a tenant; undefined: it has none, as far as this leader knows. */
  stateOf(tenant: string): TenantState | undefined {
    return this.#tenants.get(tenant)?.state;
  }

  /** Called on the tenant's notification. @returns false where it is not held: the notification is for its session. */
  onNotified(tenant: string): boolean {
    const held = this.#tenants.get(tenant);
    if (held === undefined) return false;
    held.hasWork = true;
    // During a look no job causes another one: the end of a hold sends a release notification.
    if (held.state !== 'releasing') this.#lookAgain(tenant, held);
    return true;
  }

  /** A hold may have been added or ended. */
  release(tenant: string): void {
    this.#lookAgain(tenant, this.#of(tenant));
  }

  /** A fetch has found a hold: the tenant's session fetches nothing more. */
  giveWay(tenant: string): void {
    const held = this.#of(tenant);
    held.gaveWay = true;
    this.#lookAgain(tenant, held);
  }

  #of(tenant: string): Held {
    const known = this.#tenants.get(tenant);
    if (known !== undefined) return known;
    const added: Held = {
      ...{ state: 'active', gaveWay: false, notified: false, hasWork: false, timer: undefined },
    };
    this.#tenants.set(tenant, added);
    return added;
  }

  #lookAgain(tenant: string, held: Held): void {
    held.notified = true;
    if (held.state !== 'releasing') this.#run(tenant, held).catch(this.#options.onBug);
  }

  #enter(tenant: string, held: Held, state: TenantState): void {
    assertLifeCycle(tenant, held.state, state);
    held.state = state;
  }

  async #run(tenant: string, held: Held): Promise<void> {
    const { onEnded, onFree } = this.#options;
    this.#enter(tenant, held, 'releasing');
    clearTimeout(held.timer);
    let endsInMs = 0;
    let holderNames: readonly string[] = [];
    while (held.notified) {
      held.notified = false;
      const { isHeld, holders, jobs, nextEndMs } = await this.#look(tenant, held);
      endsInMs = nextEndMs;
      holderNames = holders;
      // A release notification during the look may be of a hold that was added since.
      if (isHeld || held.notified) continue;
      this.#enter(tenant, held, 'active');
      this.#tenants.delete(tenant);
      onEnded(tenant);
      if (jobs > 0 || held.hasWork) onFree(tenant);
      return;
    }
    this.#enter(tenant, held, closedStateOf(holderNames));
    // A hold that is renewed meanwhile expires later: then it is looked at again.
    const timer = setTimeout(
      () => this.#lookAgain(tenant, held),
      Math.min(endsInMs + AFTER_END_MS, MAX_TIMER_MS),
    );
    held.timer = timer.unref();
  }

  /**
   * If the tenant is held, closes the file and records that in Redis. Also if a hold has begun and ended since this leader had a
   * look: holders that find no lease do not wait for a leader that stood still.
   */
  async #look(tenant: string, held: Held): Promise<Look> {
    const { link, group, close } = this.#options;
    const { wait, active, meta, holds } = holdKeys(group, tenant);
    const [counts, waiting, begun, records] = await link.retryUntilDone(() =>
      Promise.all([
        link.call('HMGET', meta, 'onewriter.holds', 'onewriter.unled'),
        link.call('LLEN', wait),
        link.call('LLEN', active),
        link.call('HVALS', holds),
      ]),
    );
    const [count, unled] = counts as [string | null, string | null];
    // A hold that is added after this sends another notification.
    if (count === null && unled === null && !held.gaveWay) {
      return { isHeld: false, holders: [], jobs: Number(waiting) + Number(begun), nextEndMs: 0 };
    }
    held.gaveWay = false;
    const holders = (records as string[]).map(json => (JSON.parse(json) as HoldRecord).name);
    const all = [...holders, ...(unled?.split(',') ?? [])];
    await close(
      tenant,
      all.some(name => FOR_PERSON.has(name)),
      all,
    );
    return { ...(await this.#recordReleased(tenant)), holders };
  }

  async #recordReleased(tenant: string): Promise<Omit<Look, 'holders'>> {
    const { link, group, epoch, onFenced } = this.#options;
    const { wait, active, meta, holds, prefix } = holdKeys(group, tenant);
    for (;;) {
      // A late execution, after the tenant was free and opened again, must not record that its file is closed.
      const [state, count, gone, nextEndMs = 0] = (await link.retryUntilDone(() =>
        link.run(releaseFile, [wait, active, meta, holds, prefix, turnWord(epoch(), nextTurn())]),
      )) as [number, number, string[], number?];
      if (state >= 0) {
        for (const json of gone) this.#noteLost(tenant, JSON.parse(json) as HoldRecord);
        return { isHeld: state === 1, jobs: count, nextEndMs };
      }
      if (state === -3) continue;
      await onFenced(tenant, fenced('queue', count, tenant));
    }
  }

  #noteLost(tenant: string, record: HoldRecord): void {
    const { link, group, log } = this.#options;
    const holder = toHolder(record);
    const paused = pausesWhenLost(record);
    log.warn(
      { tenant, holder, paused },
      `A hold expired, its process died or was stopped ${paused ? 'while it changed files; the tenant is paused' : 'before it changed a file'}: ${describeHolder(holder)}`,
    );
    void appendAudit(link.redis, group, log, {
      action: 'tenant.hold-lost',
      tenant,
      outcome: paused ? 'paused' : 'resumed',
      subject: record.who,
      token: '',
      requestId: '',
      address: '',
      detail: describeHolder(holder),
    });
  }
}
